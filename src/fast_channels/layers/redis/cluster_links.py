"""Commands and subscriptions in a Redis Cluster, wherever their slots are, and wherever they move to."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hiredis import ReplyError

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.cluster import Cluster, Node
from fast_channels.layers.redis.connection import Connection, Sink, packed
from fast_channels.layers.redis.link import Link, Patience

__all__ = ["SlotLink"]

logger = logging.getLogger("fast_channels.redis")

ASKING: Final = packed(b"ASKING")

PAUSE: Final = 0.05
"""Seconds until a command is tried again that no node serves at the moment."""

PASSING: Final = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")
"""Refusals that end by themselves; for READONLY, by learning who is the master now."""


class _Command:
    """A command on its way to whichever node has its slot. What replies go to, in the place of a future."""

    __slots__ = ("_deadline", "_link", "_reply", "command")

    def __init__(self, link: "SlotLink", command: bytes, reply: Any, deadline: float) -> None:
        self._link = link
        self._reply = reply
        self._deadline = deadline
        self.command = command

    def done(self) -> bool:
        return bool(self._reply.done())

    def set_result(self, result: Any) -> None:
        if not self._reply.done():
            self._reply.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        """A node did not do it: send it elsewhere, or again, or give up."""
        if not self._reply.done() and not self._link.send_elsewhere(self, error, self._deadline):
            self._reply.set_exception(error)
            if isinstance(self._reply, asyncio.Future):
                self._reply.exception()  # who waited may have been cancelled

    def give_up(self, error: BaseException, now: float) -> bool:
        """Fail with `error` if its time is over; False if it is not."""
        if now < self._deadline:
            return False
        if not self._reply.done():
            self._reply.set_exception(error)
        return True


class SlotLink:
    """A `Link` to whichever node has a slot: it follows MOVED and ASK, and a failover.

    Args:
        node_link: the link to a node; it waits for its server only a moment, so that another one may be tried.
        is_open: whether the connections are not closed, and their loop does not end.
        patience: how long a command waits altogether.
    """

    def __init__(
        self,
        cluster: Cluster,
        slot: int,
        node_link: Callable[[Node], Link],
        is_open: Callable[[], bool],
        patience: Patience,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._slot = slot
        self._node_link = node_link
        self._is_open = is_open
        self._patience = patience
        self._trouble: BaseException | None = None

    def __repr__(self) -> str:
        return f"<SlotLink {self._slot} of the {self._cluster.label}>"

    @property
    def label(self) -> str:
        """The node as logs and errors name it; the Cluster, before it is known."""
        link = self._link()
        return link.label if link is not None else self._cluster.label

    @property
    def connection(self) -> Connection | None:
        """The connection to the node, if there is a usable one."""
        link = self._link()
        return link.connection if link is not None else None

    @property
    def trouble(self) -> BaseException | None:
        """Why there is no connection, if there was an attempt."""
        link = self._link()
        return (link.trouble if link is not None else None) or self._trouble

    @property
    def is_started(self) -> bool:
        """Whether it is connected, or connecting, or may be soon: whichever node has the slot then."""
        return self._is_open()

    def _link(self) -> Link | None:
        node = self._cluster.node_of(self._slot)
        return self._node_link(node) if node is not None else None

    # Commands

    async def call(self, *args: bytes | str | int) -> Any:
        """As `Link.call`."""
        return await self.answer(packed(*args))

    async def answer(self, command: bytes) -> Any:
        """As `Link.answer`."""
        try:
            return await self.submit(command)
        except ReplyError as error:
            raise ServerRefused(self.label, str(error)) from None
        except ConnectionError as error:
            if isinstance(error, ServerUnreachable):
                raise
            raise OutcomeUnknown(self.label, error) from None

    def submit(self, command: bytes) -> "asyncio.Future[Any]":
        """As `Link.submit`."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.submit_for(command, reply)
        return reply

    def submit_for(self, command: bytes, reply: Any) -> None:
        """As `Link.submit_for`."""
        self._send(_Command(self, command, reply, self._loop.time() + self._patience.send))

    def before_write(self, prepare: Callable[[], None]) -> None:
        """As `Link.before_write`."""
        link = self._link()
        if link is None:
            self._loop.call_soon(prepare)
        else:
            link.before_write(prepare)

    def _send(self, command: _Command) -> None:
        if command.done():
            return
        link = self._link()
        if link is None:
            self._learn_and_send(command)
        else:
            link.submit_for(command.command, command)

    def send_elsewhere(self, command: _Command, error: BaseException, deadline: float) -> bool:
        """Whether a command that failed with `error` is on its way again."""
        late = self._loop.time() >= deadline
        if isinstance(error, ServerUnreachable):  # it was not sent: somebody else may have the slot soon
            self._trouble = error
            if not late:
                self._learn_and_send(command)
            return not late
        if not isinstance(error, ReplyError):
            return False  # sent, outcome unknown
        kind, _, rest = str(error).partition(" ")
        if late or kind not in ("MOVED", "ASK", *PASSING):
            return False
        if kind == "MOVED":
            self._cluster.moved(self._slot, self._address(rest))
            self._send(command)
        elif kind == "ASK":
            link = self._node_link(self._address(rest))
            link.submit_for(ASKING, Sink(_ignore, _ignore))
            link.submit_for(command.command, command)
        else:
            self._loop.call_later(PAUSE, self._learn_and_send, command)
        return True

    def _learn_and_send(self, command: _Command) -> None:
        learning = self._loop.create_task(self._cluster.learn())
        learning.add_done_callback(partial(self._learned, command))

    def _learned(self, command: _Command, learning: "asyncio.Task[None]") -> None:
        if learning.cancelled():  # the loop ends
            return
        error = learning.exception()
        if error is None and self._link() is not None:
            self._send(command)
        else:
            self._trouble = error or ConnectionError(f"nobody has slot {self._slot}")
            unreachable = ServerUnreachable(self._cluster.label, self._patience.send, self._trouble)
            if not command.give_up(unreachable, self._loop.time()):
                self._loop.call_later(PAUSE, self._learn_and_send, command)

    def _address(self, rest: str) -> Node:
        """Where `1234 host:port` of a redirection leads; without a host, it is the one that said so."""
        host, _, port = rest.split(" ")[1].rpartition(":")
        known = self._cluster.node_of(self._slot)
        return host or (known[0] if known else ""), int(port)


def _ignore(_: object) -> None:
    """Nobody waits for it."""
