"""What `layer.sync` of the Redis layers has in common: senders, each with a name of its own, and connections that are
kept.
"""

import itertools
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.blocking_servers import BlockingServers, servers_for_threads
from fast_channels.layers.redis.cluster_servers import Topology
from fast_channels.layers.redis.courier import Courier
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.outages import Outages
from fast_channels.layers.sync import SENDING, SyncLayer

if TYPE_CHECKING:
    from fast_channels.layers.redis.layer import RedisLayer

__all__ = ["RedisSyncLayer", "Sender", "Senders"]

IDLE: Final = 100
"""Senders that are kept when nobody uses them; what comes on top is let go of, with its connections."""


class Sender:
    """Who sends for one thread at a time: servers know it by its name, and its batches by their numbers."""

    def __init__(self, name: str, courier: Courier) -> None:
        self.name = name
        self.courier = courier
        self.numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Sender {self.name}>"


class Senders:
    """Senders that are borrowed for a call; who was given back last is borrowed next.

    So there are never more than calls at a time, and threads that come and go use the same ones.
    """

    def __init__(self, servers: BlockingServers, patience: Patience, outages: Outages) -> None:
        self._servers = servers
        self._patience = patience
        self._outages = outages
        self._name = uuid4().hex
        self._numbers = itertools.count()
        self._idle: list[Sender] = []
        self._closings = 0

    def __repr__(self) -> str:
        return f"<Senders {self._name}: {len(self._idle)} idle>"

    @property
    def idle(self) -> tuple[Sender, ...]:
        """Those that nobody uses; the last one is borrowed next."""
        return tuple(self._idle)

    @contextmanager
    def borrowed(self) -> Iterator[Sender]:
        """A sender for this thread, until the block is left."""
        closings = self._closings  # before there is a sender: none is overlooked
        try:
            sender = self._idle.pop()
        except IndexError:
            sender = self._another()
        try:
            yield sender
        finally:
            if closings != self._closings or len(self._idle) >= IDLE:
                sender.courier.close()
            if len(self._idle) < IDLE:
                self._idle.append(sender)

    def _another(self) -> Sender:
        courier = Courier(self._servers, self._patience, self._outages)
        return Sender(f"{self._name}-{next(self._numbers)}", courier)

    def close(self) -> None:
        """End the connections: at once those that nobody uses, the others after that. They open again when used."""
        self._closings += 1
        for sender in tuple(self._idle):  # they keep their names: a server may remember them
            sender.courier.close()


class RedisSyncLayer(SyncLayer):
    """Sends over connections of its own. See `SyncLayer`.

    Every call that sends borrows a sender: an identity with its connections. What a server sees twice of it, because
    an answer was lost, it stores once.
    """

    stands_for = SENDING

    _layer: "RedisLayer[Any]"
    counters: Counters
    """What was sent, and what was dropped."""

    def __init__(self, layer: "RedisLayer[Any]") -> None:
        self.counters = Counters()
        super().__init__(layer)

    def _start_afresh(self) -> None:
        super()._start_afresh()
        topology, patience = self._way_out()
        self._counting = threading.RLock()  # again by a log handler that sends through the layer
        self._servers = servers_for_threads(topology)
        self._senders = Senders(self._servers, patience, Outages(self.counters))
        self._finalizers.append(weakref.finalize(self, self._senders.close))

    def _way_out(self) -> tuple[Topology, Patience]:
        """The servers of the layer, and its patience with them."""
        raise NotImplementedError

    def _after_fork(self) -> None:
        inherited = self._senders
        super()._after_fork()
        inherited.close()  # here: the parent has descriptors of its own for them, and goes on

    def close(self) -> None:
        super().close()
        self._senders.close()

    def _close_soon(self) -> None:
        super()._close_soon()
        self._senders.close()
