"""What a process wants to hear on one shard, kept in force over every connection."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from hiredis import ReplyError

from fast_channels.exceptions import ServerRefused, ServerUnreachable
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.link import Link, LinkEvents, Patience
from fast_channels.layers.redis.topology import Endpoint

__all__ = ["Gap", "Listening", "Route", "Subscriptions"]

logger = logging.getLogger("fast_channels.redis")

Route = Callable[[bytes], None]
"""Gets the payload of each message of an address."""

TRY_AGAIN = 5.0
"""Seconds until a subscription that was in force and is refused now is tried again."""

ELSEWHERE = ("MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN")
"""Refusals of a Cluster's node that has not got a slot, or cannot serve it now."""

MESSAGES = (b"message", b"smessage")

BATCH = 500
"""Addresses of one SUBSCRIBE."""


class Gap(NamedTuple):
    """A time without a subscription: what was published in it did not arrive."""

    server: str
    """The server, without a password."""
    seconds: float
    """From the last thing that was heard to the last confirmed subscription."""
    addresses: int
    """How many subscriptions were restored."""
    reason: str


class _Wanted:
    """An address somebody wants to hear, and whether the server has confirmed it on this connection."""

    __slots__ = ("confirmed", "route")

    def __init__(self, route: Route, confirmed: "asyncio.Future[None]") -> None:
        self.route = route
        self.confirmed = confirmed


class Listening(Protocol):
    """Where to subscribe: at one server, or wherever a slot is. See `Subscriptions`."""

    async def subscribe(self, address: bytes, route: Route) -> None:
        """Hand every message of `address` to `route`; returns when the server has confirmed it."""
        ...

    def want(self, address: bytes, route: Route) -> None:
        """The same without waiting."""
        ...

    def unsubscribe(self, address: bytes) -> None:
        """Stop listening to `address`."""
        ...


class Subscriptions(LinkEvents):
    """The subscriptions of one event loop on one shard, over a connection of their own.

    `subscribe` and `unsubscribe` say what is wanted; what the server was told is brought in line with it once in a turn
    of the loop, and as a whole on each new connection, before anybody is told that it is back.

    Args:
        on_down: called when the connection is lost.
        on_gap: called when all are confirmed again.
        sharded: whether to use sharded pub/sub, which a Cluster keeps within the node of each address.
        slot_of: in a Cluster, the slot of an address; one command names addresses of one slot.
        on_elsewhere: in a Cluster, called with an address that this node does not serve (any more), and with what it
            said, if it said anything.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience,
        on_down: Callable[[], None],
        on_gap: Callable[[Gap], None],
        *,
        sharded: bool = False,
        slot_of: Callable[[bytes], int] | None = None,
        on_elsewhere: Callable[[bytes, str], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._on_down = on_down
        self._on_gap = on_gap
        self._commands = (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        self._slot_of = slot_of
        self._on_elsewhere = on_elsewhere
        self._wanted: dict[bytes, _Wanted] = {}
        self._told: set[bytes] = set()
        self._changed: set[bytes] = set()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._reason = ""
        self.link = Link(endpoint, self, patience, "listening")

    def __repr__(self) -> str:
        return f"<Subscriptions {self.link.label}: {len(self._wanted)}>"

    def __len__(self) -> int:
        return len(self._wanted)

    def is_confirmed(self, address: bytes) -> bool:
        """Whether the server has confirmed `address`, on this connection or one before."""
        wanted = self._wanted.get(address)
        return wanted is not None and wanted.confirmed.done()

    def missing(self) -> int:
        """How many addresses are wanted, and not heard: there is no connection, or the server refuses them."""
        if self.link.connection is None:
            return len(self._wanted)
        return len(self._wanted.keys() - self._told - self._changed)

    async def subscribe(self, address: bytes, route: Route) -> None:
        """Hand every message of `address` to `route` from now on; returns when the server has confirmed it.

        Raises:
            ServerUnreachable: not confirmed in time. The address stays wanted until `unsubscribe()`.
            ServerRefused: the server does not allow it.
        """
        wanted = self._wanted.get(address) or self._want(address, route)
        self.link.start()  # it may have been cancelled, as some programs cancel every task there is
        if not wanted.confirmed.done():
            await self._confirmation(wanted)

    def want(self, address: bytes, route: Route) -> None:
        """The same without waiting: it is subscribed as soon as there is a server."""
        if address not in self._wanted:
            self._want(address, route)
            self.link.start()

    def _want(self, address: bytes, route: Route) -> _Wanted:
        wanted = self._wanted[address] = _Wanted(route, self._loop.create_future())
        self._change(address)
        return wanted

    async def _confirmation(self, wanted: _Wanted) -> None:
        await asyncio.wait({wanted.confirmed}, timeout=self._patience.send)
        if not wanted.confirmed.done():
            raise ServerUnreachable(self.link.label, self._patience.send, self.link.trouble)
        error = wanted.confirmed.exception()
        if error is not None:
            raise error

    def unsubscribe(self, address: bytes) -> None:
        """Stop listening to `address`."""
        wanted = self._wanted.pop(address, None)
        if wanted is not None:
            self._change(address)
            if not wanted.confirmed.done():
                wanted.confirmed.set_result(None)  # who waits for it hears that it is over

    def abandon(self) -> None:
        """Let go of the connection after the loop was closed under it."""
        self.link.abandon()

    async def close(self) -> None:
        """Forget all subscriptions and end the connection. Idempotent."""
        wanted = list(self._wanted.items())
        self._wanted.clear()
        self._told.clear()
        for address, want in wanted:
            if not want.confirmed.done():
                self._give_up(address, want, ServerUnreachable(self.link.label, 0.0, "the layer was closed"))
        await self.link.close()

    def _give_up(self, address: bytes, wanted: _Wanted, error: Exception) -> None:
        """Tell who waits for `address`. Who does not wait was promised it: then it is asked for again later."""
        if wanted.confirmed.done():
            logger.warning("%s is not heard, and is tried again: %s", address.decode(), error)
            self._loop.call_later(TRY_AGAIN, self.try_again, address)
            return
        wanted.confirmed.set_exception(error)
        wanted.confirmed.exception()  # who waited may have been cancelled
        if self._wanted.get(address) is wanted:
            self.unsubscribe(address)

    def try_again(self, address: bytes) -> None:
        """Ask for an address again that the server had refused."""
        if address in self._wanted:
            self._change(address)

    # Bringing the server in line

    def _change(self, address: bytes) -> None:
        if not self._changed:
            self._loop.call_soon(self._tell)
        self._changed.add(address)

    def _tell(self) -> None:
        changed, self._changed = self._changed, set()
        connection = self.link.connection
        if connection is None:
            return  # the next connection is told everything
        new = [address for address in changed if self._is_untold(address)]
        gone = [address for address in changed if address not in self._wanted and address in self._told]
        self._told.difference_update(gone)
        self._told.update(new)
        for batch in self._batches(gone):
            connection.subscribe(self._commands[1], batch).add_done_callback(_no_matter)
        for batch in self._batches(new):
            self._subscribe(connection, batch)

    def _is_untold(self, address: bytes) -> bool:
        """Whether the server has to be told; also again, if who had wanted it left and somebody else came meanwhile."""
        wanted = self._wanted.get(address)
        return wanted is not None and (address not in self._told or not wanted.confirmed.done())

    def _subscribe(self, connection: Connection, batch: list[bytes]) -> None:
        hopes = [(address, self._wanted[address]) for address in batch]
        reply = connection.subscribe(self._commands[0], batch)

        def answered(reply: "asyncio.Future[Any]") -> None:
            self._unanswered.discard(reply)
            if reply.cancelled():
                return
            error = reply.exception()
            if error is None:
                for _, wanted in hopes:
                    if not wanted.confirmed.done():
                        wanted.confirmed.set_result(None)
            elif isinstance(error, ReplyError):
                self._refused(connection, hopes, error)

        self._unanswered.add(reply)
        reply.add_done_callback(answered)

    def _refused(self, connection: Connection, hopes: list[tuple[bytes, _Wanted]], error: ReplyError) -> None:
        """An ACL refuses a whole command for one of its addresses: find out which."""
        self._told.difference_update(address for address, _ in hopes)
        if self._on_elsewhere is not None and str(error).startswith(ELSEWHERE):
            for address, _ in hopes:
                self._on_elsewhere(address, str(error))
            return
        if len(hopes) == 1:
            address, wanted = hopes[0]
            self._give_up(address, wanted, ServerRefused(self.link.label, str(error)))
            return
        for address, wanted in hopes:
            if self._wanted.get(address) is wanted and not connection.lost.done():
                self._told.add(address)
                self._subscribe(connection, [address])

    def _batches(self, addresses: list[bytes]) -> list[list[bytes]]:
        if self._slot_of is not None:
            by_slot: dict[int, list[bytes]] = {}
            for address in addresses:
                by_slot.setdefault(self._slot_of(address), []).append(address)
            return [batch for slot in by_slot.values() for batch in _pieces(slot)]
        return _pieces(addresses)

    # LinkEvents

    def on_push(self, push: list[Any]) -> None:
        kind = push[0]
        if kind in MESSAGES:
            wanted = self._wanted.get(push[1])
            if wanted is not None:
                wanted.route(push[2])
        elif kind == b"sunsubscribe" and push[1] in self._told:  # nobody asked for it: the slot has moved
            self._told.discard(push[1])
            if self._on_elsewhere is not None:
                self._on_elsewhere(push[1], "")

    async def on_connect(self, connection: Connection) -> None:
        self._told = set(self._wanted)
        for batch in self._batches(list(self._wanted)):
            self._subscribe(connection, batch)
        while self._unanswered:  # a refusal asks again, one by one
            await asyncio.wait(self._unanswered)
        if connection.lost.done():
            raise ConnectionError(str(connection.lost.result()))
        self._changed.update(self._told, self._wanted)  # some came and some went meanwhile
        self._loop.call_soon(self._tell)

    def on_refused(self, error: ServerRefused) -> None:
        for address, wanted in tuple(self._wanted.items()):
            if not wanted.confirmed.done():
                self._give_up(address, wanted, error)

    def on_down(self, reason: BaseException) -> None:
        self._reason = str(reason) or type(reason).__name__
        self._on_down()

    def on_up(self, outage: float) -> None:
        self._on_gap(Gap(self.link.label, outage, len(self._told), self._reason))


def _pieces(addresses: list[bytes]) -> list[list[bytes]]:
    return [addresses[start : start + BATCH] for start in range(0, len(addresses), BATCH)]


def _no_matter(reply: "asyncio.Future[Any]") -> None:
    """Nobody waits for the end of a subscription; its error is the connection's, which reports itself."""
    if not reply.cancelled():
        reply.exception()
