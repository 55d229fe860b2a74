"""Who is served in this process, and how they are asked to come back to another one."""

import asyncio
import logging
import random
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from fast_channels.consumer.connection import Connection

__all__ = ["Drained", "Lobby", "check_times", "closing_times", "drain", "is_draining", "lobby"]

logger = logging.getLogger("fast_channels.consumer")

LEAST_RATE: Final = 10
"""Connections that are closed in a second, if there are few: then it takes less time than it might."""

CUT_SECONDS: Final = 2.0
"""How long a consumer whose handler was cancelled may take to end; then its `disconnect()` is cancelled as well."""

LAST_SECONDS: Final = 1.0
"""How long it may take to end after that."""


class Drained(NamedTuple):
    """What became of the connections."""

    closed: int
    """How many WebSockets were closed with code 1012."""
    cut: int
    """How many consumers had a handler that did not end in time, and was cancelled."""
    left: int
    """How many did not end even then: they swallow the cancellation."""


class Lobby:
    """The connections that are served in one event loop.

    Attributes:
        connections: those that there are.
        is_draining: whether new ones are refused.
    """

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.is_draining = False
        self._closing: set[asyncio.Task[bool]] = set()
        self._draining: asyncio.Task[Drained] | None = None
        self._outcome: Drained | None = None
        self._changed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Lobby: {len(self.connections)} connections{', draining' if self.is_draining else ''}>"

    def add(self, connection: "Connection") -> None:
        """It is served from now on; if it came too late, it is asked to leave."""
        self.connections.add(connection)
        if self.is_draining:
            _ = self._close(connection)

    def discard(self, connection: "Connection") -> None:
        """It has ended."""
        self.connections.discard(connection)
        if self._changed is not None and not self.connections and not self._changed.done():
            self._changed.set_result(None)

    def reopen(self) -> None:
        """Take new connections again."""
        self.is_draining = False
        self._outcome = None

    async def drain(self, over: float, timeout: float) -> Drained:
        """See `drain`. Whoever calls it again gets the outcome of the first time."""
        self.is_draining = True
        if self._outcome is not None:
            return self._outcome
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain_once(over, timeout))
        return await asyncio.shield(self._draining)

    async def _drain_once(self, over: float, timeout: float) -> Drained:
        try:
            self._outcome = await self._drain(over, timeout)
        finally:
            self._draining = None  # it would keep the loop
        return self._outcome

    async def _drain(self, over: float, timeout: float) -> Drained:
        here = len(self.connections)
        if not here:
            return Drained(0, 0, 0)
        logger.info("draining: %d connections are closed within %g s", here, over)
        closed = await self._close_at_a_pace(over)
        if await self._empty(timeout):
            return Drained(closed, 0, 0)
        names = self._names()
        cut = self._cut()
        logger.warning("draining: %d consumers did not end in %g s, they are cancelled: %s", cut, timeout, names)
        if not await self._empty(CUT_SECONDS):
            self._cut()
            await self._empty(LAST_SECONDS)
        if self.connections:
            logger.error("draining: %d consumers do not end: %s", len(self.connections), self._names())
        return Drained(closed, cut, len(self.connections))

    async def _close_at_a_pace(self, over: float) -> int:
        loop = asyncio.get_running_loop()
        connections = list(self.connections)
        random.shuffle(connections)
        begun = loop.time()
        closing = []
        for connection, when in zip(connections, closing_times(len(connections), over), strict=True):
            if not self.connections:
                break
            await asyncio.sleep(begun + when - loop.time())
            if connection in self.connections:
                closing.append(self._close(connection))
        if closing:  # a client that reads nothing may hold one up: it is cut in the end
            await asyncio.wait(closing, timeout=LAST_SECONDS)
        return sum(task.result() for task in closing if task.done() and not task.cancelled() and not task.exception())

    def _close(self, connection: "Connection") -> "asyncio.Task[bool]":
        task = asyncio.get_running_loop().create_task(connection.restart())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _empty(self, timeout: float) -> bool:
        """Wait until nobody is left. Whether that came to be."""
        if self.connections:
            self._changed = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._changed}, timeout=timeout)
            self._changed = None
        return not self.connections

    def _cut(self) -> int:
        connections = tuple(self.connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def _names(self) -> str:
        return ", ".join(sorted({type(connection.consumer).__name__ for connection in self.connections}))


_lobbies: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lobby]" = weakref.WeakKeyDictionary()


def lobby() -> Lobby:
    """The one of the running event loop."""
    loop = asyncio.get_running_loop()
    here = _lobbies.get(loop)
    if here is None:
        here = _lobbies[loop] = Lobby()
    return here


def is_draining() -> bool:
    """Whether this process takes no new connections, because it is about to end."""
    return lobby().is_draining


async def drain(over: float = 10.0, timeout: float = 10.0) -> Drained:
    """Let every consumer of this event loop go, in peace, and take no new ones.

    WebSockets are closed with code 1012 (service restart: come back later), not all at once, so that their clients do
    not all come back at once: in random order, spread over `over` seconds with some jitter. What a handler sends after
    that raises `ClientGone`. Groups are left before `disconnect(1012)` runs. Requests are served to their end.

    It happens once: whoever calls it again gets the outcome of the first time, and a cancellation of the call does not
    end it. It takes `over` + `timeout` + 4 seconds at the most.

    From the first moment on, a new WebSocket is accepted and closed with 1012, and a new HTTP request is answered by a
    consumer with 503.

    Args:
        over: seconds; few connections take less, as ten a second are closed at least.
        timeout: seconds that consumers have to end after the last was closed; then their handlers are cancelled.

    Returns:
        How many were closed, cut, and did not end.

    Raises:
        TypeError, ValueError: `over` or `timeout` is no number of seconds.
    """
    check_times(over, timeout)
    return await lobby().drain(over, timeout)


def check_times(over: object, timeout: object) -> None:
    """Raise TypeError or ValueError unless both are numbers of seconds, at least 0: for `drain`."""
    for name, seconds in (("over", over), ("timeout", timeout)):
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise TypeError(f"{name} is a number of seconds, not {type(seconds).__name__}")
        if not seconds >= 0:
            raise ValueError(f"{name} must be 0 seconds or more, not {seconds!r}")


def closing_times(count: int, over: float, chance: Callable[[], float] = random.random) -> list[float]:
    """When each of `count` connections is closed, in seconds from now: one in each of as many equal parts of the time,
    anywhere in it. `chance` is in [0, 1).
    """
    span = min(over, count / LEAST_RATE)
    return [(place + chance()) * span / count for place in range(count)]
