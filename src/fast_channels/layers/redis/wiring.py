"""What all event loops of a queue layer share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.cluster_servers import Topology
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Patience
from fast_channels.serializers import MsgPackSerializer

__all__ = ["BEAT", "DEAD_LETTERS", "INBOX_BOUND", "LEASE", "QueueWiring"]

LEASE: Final = 4_000
"""Milliseconds for which a process counts as alive after its last sign of life."""

BEAT: Final = 1.0
"""Seconds between two signs of life."""

INBOX_BOUND: Final = 100_000
"""Messages that wait in an inbox; one more is dropped and counted."""


DEAD_LETTERS: Final = 10_000
"""Dead letters that a channel keeps; one more takes the place of the oldest."""


@dataclass(frozen=True, slots=True)
class QueueWiring:
    """The options of a layer, and what its event loops have in common."""

    topology: Topology
    keys: QueueKeys
    patience: Patience
    counters: Counters
    control: MsgPackSerializer
    """Encodes control entries, encrypted if the layer's messages are."""
    decode: Callable[[bytes, bytes], Any]
    """A message from payload and context, or `SKIPPED`."""
    get_capacity: Callable[[str], int]
    expiry: int
    """Milliseconds."""
    group_expiry: int
    """Milliseconds."""
    max_deliveries: int
    retry_delay: float
    """Seconds before the first redelivery."""
    is_replicated: bool = False
    """Whether a send returns when a replica has the message."""
    checked: set[str] = field(default_factory=set)
    """The servers of which it is known whether they can keep what is promised."""

    @property
    def inbox_lasts(self) -> int:
        """Milliseconds after which an inbox is forgotten that nobody attends to and nobody buries."""
        return max(self.group_expiry, 60_000)
