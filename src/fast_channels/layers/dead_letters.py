"""Messages that were delivered too often without success, and what can be done with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that `delivery()` gave up."""

    channel: str
    id: str
    """Names it among the dead letters of its channel."""
    message: Any
    """What was sent; None if it cannot be read (other keys, another format)."""
    reason: str
    """`max_deliveries`: the handler raised each time. `undecodable`: no handler can read it."""
    deliveries: int
    """How often it was handed to a handler."""
    error: str
    """The last line of the last traceback: `ValueError: no such user`."""
    died_at: float
    """When it was given up, in seconds since 1970, on the server's clock."""


class DeadLetters(Protocol):
    """The dead letters of a layer: `layer.dead_letters`. A channel keeps its latest 10,000."""

    async def channels(self) -> dict[str, int]:
        """The channels that have dead letters, with how many."""
        ...

    async def list(self, channel: str, start: int = 0, count: int = 100) -> Sequence[DeadLetter]:
        """Up to `count` dead letters of `channel`, oldest first, from the one at place `start`."""
        ...

    async def get(self, channel: str, id: str) -> DeadLetter | None:
        """The dead letter `id` of `channel`, or None."""
        ...

    async def send_again(self, channel: str, *ids: str) -> int:
        """Put dead letters back into their channel, as if they had never been delivered; all of them without `ids`.

        Capacity is not asked. Returns how many there were.
        """
        ...

    async def drop(self, channel: str, *ids: str) -> int:
        """Forget dead letters; all of the channel without `ids`. Returns how many there were."""
        ...
