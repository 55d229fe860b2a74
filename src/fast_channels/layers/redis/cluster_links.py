"""Commands in a Redis Cluster, to wherever their slot is, and wherever it moves to."""

import asyncio
import itertools
import logging
from bisect import insort
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, Protocol

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.cluster import Cluster, Node, redirection
from fast_channels.layers.redis.connection import Answer, Connection, Sink, packed
from fast_channels.layers.redis.link import Link, Patience, forget, reply_of

__all__ = ["ASKING", "Links", "SlotLink"]

logger = logging.getLogger("fast_channels.redis")

ASKING: Final = packed(b"ASKING")
"""Before a command, it lets a node do it whose slot is still on its way; alone, it does nothing."""

PAUSE: Final = 0.05
"""Seconds until a command is tried again that no node serves at the moment."""

PASSING: Final = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")
"""Refusals that end by themselves; for READONLY, by learning who is the master now."""


class Links(Protocol):
    """The links to the nodes. They wait for their servers only a moment, so that another one may be tried."""

    @property
    def is_open(self) -> bool:
        """Whether they are not closed, and their loop does not end."""
        ...

    def find(self, node: Node) -> Link | None:
        """The link to a node, if there is one."""
        ...

    def to(self, node: Node) -> Link:
        """The link to a node."""
        ...


class _Command:
    """A command on its way to whichever node has its slot. What replies go to, in the place of a future."""

    __slots__ = ("_link", "deadline", "moves", "node", "number", "packed", "reply")

    def __init__(self, link: "SlotLink", packed: bytes, reply: Answer, number: int, deadline: float) -> None:
        self._link = link
        self.packed = packed
        self.reply = reply
        self.number = number
        self.deadline = deadline
        self.node: Node | None = None  # where it was sent last
        self.moves = 0  # how often it was told to go elsewhere

    def done(self) -> bool:
        return self.reply.done()

    def set_result(self, result: Any) -> None:
        if not self.reply.done():
            self.reply.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        """A node did not do it: send it elsewhere, or again, or give up."""
        if not self.reply.done() and not self._link.send_elsewhere(self, error):
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
            if isinstance(self.reply, asyncio.Future):
                self.reply.exception()  # who waited may have been cancelled


class SlotLink:
    """A `Link` to whichever node has a slot: it follows MOVED and ASK, and a failover.

    Commands are sent in their order. When a node sends one back, what comes later waits until that node has answered
    everything before; then all that came back goes on its way again, in the order in which it came in the beginning.

    Args:
        links: to all nodes.
        patience: how long a command waits altogether, and how much may wait.
    """

    def __init__(self, cluster: Cluster, slot: int, links: Links, patience: Patience) -> None:
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._slot = slot
        self._links = links
        self._patience = patience
        self._trouble: BaseException | None = None
        self._numbers = itertools.count()
        self._held: list[_Command] = []  # what came back, and what came later, in order
        self._held_bytes = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._in_doubt = False  # whether the map must be asked for before they go on
        self._paused = False  # whether they wait a little before

    def __repr__(self) -> str:
        return f"<SlotLink {self._slot} of the {self._cluster.label}, {len(self._held)} commands waiting>"

    @property
    def label(self) -> str:
        """The node as logs and errors name it; the Cluster, before it is known."""
        node = self._cluster.node_of(self._slot)
        return self._cluster.endpoint(node).label if node is not None else self._cluster.label

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
        return self._links.is_open

    def _link(self) -> Link | None:
        node = self._cluster.node_of(self._slot)
        return self._links.find(node) if node is not None else None

    # Commands

    async def call(self, *args: bytes | str | int) -> Any:
        """As `Link.call`."""
        return await self.answer(packed(*args))

    async def answer(self, command: bytes) -> Any:
        """As `Link.answer`."""
        return await reply_of(self, command)

    def submit(self, command: bytes) -> "asyncio.Future[Any]":
        """As `Link.submit`."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.submit_for(command, reply)
        return reply

    def submit_for(self, command: bytes, reply: Answer) -> None:
        """As `Link.submit_for`."""
        deadline = self._loop.time() + self._patience.send
        one = _Command(self, command, reply, next(self._numbers), deadline)
        node = self._cluster.node_of(self._slot)
        if node is not None and not self._held and not self._is_recovering:
            self._send(one, node)
            return
        if len(self._held) >= self._patience.commands or self._held_bytes > self._patience.bytes:
            self._forget_cancelled()
        if len(self._held) >= self._patience.commands or self._held_bytes > self._patience.bytes:
            raise ServerUnreachable(self.label, 0.0, f"{len(self._held)} commands wait for it already")
        self._in_doubt |= node is None
        self._hold(one)

    def before_write(self, prepare: Callable[[], None]) -> None:
        """As `Link.before_write`."""
        link = self._link()
        if link is None:
            self._loop.call_soon(prepare)
        else:
            link.before_write(prepare)

    def _send(self, command: _Command, node: Node) -> None:
        command.node = node
        self._links.to(node).submit_for(command.packed, command)

    # What comes back

    def send_elsewhere(self, command: _Command, error: BaseException) -> bool:
        """Whether a command that failed with `error` is on its way again, or will be."""
        if command.node is None or self._loop.time() >= command.deadline or not self._links.is_open:
            return False
        if isinstance(error, ServerUnreachable):  # it was not sent: somebody else may have the slot soon
            self._trouble = error
            self._in_doubt = True
        elif not isinstance(error, ReplyError):
            return False  # sent, outcome unknown
        elif str(error).startswith("MOVED "):
            self._cluster.moved(self._slot, redirection(str(error), command.node))
            command.moves += 1
            if command.moves > 1:  # they do not agree yet
                self._in_doubt = self._paused = True
        elif str(error).startswith("ASK "):
            return self._ask(command, redirection(str(error), command.node))
        elif str(error).startswith(PASSING):
            self._in_doubt = self._paused = True
        else:
            return False
        self._hold(command)
        return True

    def _ask(self, command: _Command, node: Node) -> bool:
        """Send a command to where its keys are already, while the slot is on its way there."""
        try:
            self._links.to(node).submit_for(ASKING, Sink(_ignore, _ignore))
            self._send(command, node)
        except ServerUnreachable:
            return False
        return True

    def _hold(self, command: _Command) -> None:
        insort(self._held, command, key=_number)
        self._held_bytes += len(command.packed)
        if self._expiry is None:
            self._expiry = self._loop.call_at(self._held[0].deadline, self._expire)
        if not self._is_recovering:
            recovering = self._recover(command.node)
            self._recovery = self._loop.create_task(recovering, name=f"fast-channels slot {self._slot}")

    @property
    def _is_recovering(self) -> bool:
        return self._recovery is not None and not self._recovery.done()

    def _expire(self) -> None:
        """Fail what has waited long enough. All wait equally long, so the oldest is always at the head."""
        self._expiry = None
        now = self._loop.time()
        overdue = sum(command.deadline <= now for command in self._held)
        error = ServerUnreachable(self.label, self._patience.send, self.trouble or "its slot is nowhere served")
        for command in self._held[:overdue]:
            command.fail(error)
        del self._held[:overdue]
        self._forget_cancelled()
        if self._held:
            self._expiry = self._loop.call_at(self._held[0].deadline, self._expire)

    def _forget_cancelled(self) -> None:
        self._held = [command for command in self._held if not command.done()]
        self._held_bytes = sum(len(command.packed) for command in self._held)

    async def _recover(self, node: Node | None) -> None:
        """Send what is held to whoever has the slot, once `node`, which sent it back, has sent back everything."""
        if node is not None:
            with suppress(ConnectionError, ReplyError):
                await self._links.to(node).submit(ASKING)
        owner: Node | None = None
        while self._held and owner is None:
            if self._paused:
                await asyncio.sleep(PAUSE)
            if self._in_doubt:
                await self._learn()
            owner = self._cluster.node_of(self._slot)
            self._in_doubt = self._paused = owner is None
        if owner is not None:
            self._release(owner)

    async def _learn(self) -> None:
        try:
            await self._cluster.learn()
        except (FastChannelsError, OSError) as error:
            self._trouble = error
            if isinstance(error, ServerRefused):
                self._fail_held(error)

    def close(self) -> None:
        """Fail what is held: the connections are closed."""
        if self._recovery is not None:
            self._recovery.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._fail_held(ServerUnreachable(self.label, 0.0, "the layer was closed"))

    def _fail_held(self, error: Exception) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        for command in held:
            command.fail(error)

    def abandon(self) -> None:
        """Let go of everything after the loop was closed under it."""
        if self._recovery is not None:
            forget(self._recovery)

    def _release(self, node: Node) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        for command in held:
            if not command.done():
                try:
                    self._send(command, node)
                except ServerUnreachable as error:  # too much waits for that node
                    command.fail(error)


_number = attrgetter("number")


def _ignore(_: object) -> None:
    """Nobody waits for it."""
