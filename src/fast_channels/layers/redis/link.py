"""A connection that is kept: connected when first needed, watched by pings, connected again with a jittered backoff."""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hiredis import ReplyError

from fast_channels.exceptions import ServerRefused, ServerUnreachable
from fast_channels.layers.redis.connection import Answer, Connection, failure_of, packed, unshared
from fast_channels.layers.redis.topology import REPLICA, Endpoint, is_replica

__all__ = ["Commands", "Link", "LinkEvents", "Patience", "backoff", "forget", "passes_by_itself", "reply_of"]

logger = logging.getLogger("fast_channels.redis")

STABLE = 1.0
"""Seconds after which a connection counts as one that holds."""

PASSING = (
    *("LOADING", "BUSY", "MASTERDOWN", "REPLICA", "READONLY", "ERR max number of clients"),
    *("CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"),
)
"""Refusals of a greeting that end by themselves; after any other, those who wait are told at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a link waits for what, in seconds, and how much may wait."""

    send: float = 5.0
    """A command waits this long for a server, then it fails and was not sent."""
    restore: float = 10.0
    """What a new connection must know is told within this time, or the connection is given up."""
    ping_every: float = 2.0
    answer: float = 3.0
    """Without any sign of life for this long after a ping, the connection is given up."""
    commands: int = 10_000
    """Commands that may wait for a server at a time; one more fails at once."""
    bytes: int = 64 * 1024 * 1024
    """And how large they may be together; more fails at once."""


class LinkEvents:
    """What the owner of a link is told. Every method may be overridden; these do nothing."""

    def on_push(self, push: list[Any]) -> None:
        """A push message arrived."""

    async def on_connect(self, connection: Connection) -> None:
        """A new connection: restore what it must know (subscriptions). Waiting commands go out after this."""

    def on_refused(self, error: ServerRefused) -> None:
        """The server refuses connections, and not only for now: a wrong password. It is tried again nevertheless."""

    def on_down(self, reason: BaseException) -> None:
        """A connection that had been usable is lost."""

    def on_up(self, outage: float) -> None:
        """It is usable again; nothing was heard for `outage` seconds."""


class Commands(Protocol):
    """Where commands go: to one server, or to whichever has a slot. See `Link`."""

    @property
    def label(self) -> str:
        """The server as logs and errors name it."""
        ...

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is a usable one."""
        ...

    @property
    def trouble(self) -> BaseException | None:
        """Why there is no connection, if there was an attempt."""
        ...

    @property
    def is_started(self) -> bool:
        """Whether it is connected, or connecting."""
        ...

    async def call(self, *args: bytes | str | int) -> Any:
        """Send a command and return its reply."""
        ...

    async def answer(self, command: bytes) -> Any:
        """`call` for an encoded command."""
        ...

    def submit(self, command: bytes) -> "asyncio.Future[Any]":
        """Send an encoded command now, or when there is a server."""
        ...

    def before_write(self, prepare: Callable[[], None]) -> None:
        """Call `prepare` when what is sent in this turn of the loop is written."""
        ...


class Link:
    """Commands to one endpoint, over whatever connection there is.

    While there is none, or the server does not read, commands wait in their order, for `patience.send` seconds each.
    What was sent when a connection broke is never sent again: its callers get `OutcomeUnknown`.
    """

    def __init__(self, endpoint: Endpoint, events: LinkEvents, patience: Patience, purpose: str = "") -> None:
        self._endpoint = endpoint
        self._events = events
        self._purpose = f" for {purpose}" if purpose else ""
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._waiting: deque[tuple[float, bytes, Answer]] = deque()
        self._waiting_bytes = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None
        self._complained = False  # one line an outage
        self._down_since: float | None = None  # when something was last heard, while there is no connection
        self._sound_at = 0.0  # when the server last was known to be a master
        self._agreed_at = 0.0  # when its Sentinels last said so
        self.disconnections = 0
        self.reconnections = 0

    def __repr__(self) -> str:
        state = "idle" if self._supervisor is None else "connected" if self._connection else "connecting"
        return f"<Link {self._endpoint.label} {state}, {len(self._waiting)} commands waiting>"

    @property
    def label(self) -> str:
        """The server as logs and errors name it."""
        return self._endpoint.label

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is a usable one."""
        return self._connection

    @property
    def trouble(self) -> BaseException | None:
        """Why there is no connection, if there was an attempt."""
        return self._trouble

    @property
    def heard_at(self) -> float:
        """When something was last heard of the server, on the loop's clock; infinite if there is nothing to say."""
        if self._connection is not None:
            return self._connection.heard_at
        return self._down_since if self._down_since is not None else float("inf")

    @property
    def is_started(self) -> bool:
        """Whether it is connected, or connecting."""
        return self._supervisor is not None and not self._supervisor.done()

    # Commands

    async def call(self, *args: bytes | str | int) -> Any:
        """Send a command and return its reply.

        Raises:
            ServerUnreachable: no server in time; the command was not sent.
            OutcomeUnknown: the connection broke before the reply.
            ServerRefused: the server replied with an error.
        """
        return await self.answer(packed(*args))

    async def answer(self, command: bytes) -> Any:
        """`call` for an encoded command."""
        return await reply_of(self, command)

    def submit(self, command: bytes) -> "asyncio.Future[Any]":
        """Send an encoded command now, or when there is a server: for who wants no coroutine for each.

        The future fails as the connection does: with `hiredis.ReplyError`, with `ServerUnreachable` if the command was
        not sent in time, with any other ConnectionError if its outcome is unknown.
        """
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.submit_for(command, reply)
        return reply

    def submit_for(self, command: bytes, reply: Answer) -> None:
        """`submit`, with the reply going to whoever wants it."""
        connection = self._connection
        if connection is not None and not connection.paused and not self._waiting:
            connection.send(command, reply)
        else:
            self._wait_with(command, reply)

    def before_write(self, prepare: Callable[[], None]) -> None:
        """Call `prepare` when what is sent in this turn of the loop is written, or soon if there is no connection."""
        connection = self._connection
        if connection is not None and not connection.paused:
            connection.before_write(prepare)
        else:
            self._loop.call_soon(prepare)

    def _wait_with(self, command: bytes, reply: Answer) -> None:
        if self._too_many_wait():
            self._forget_cancelled()
        if self._too_many_wait():
            raise ServerUnreachable(self.label, 0.0, f"{len(self._waiting)} commands wait for it already")
        self.start()
        self._waiting.append((self._loop.time() + self._patience.send, command, reply))
        self._waiting_bytes += len(command)
        if self._expiry is None:
            self._expiry = self._loop.call_later(self._patience.send, self._expire)

    def _too_many_wait(self) -> bool:
        return len(self._waiting) >= self._patience.commands or self._waiting_bytes > self._patience.bytes

    def _forget_cancelled(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry[2].done())
        self._waiting_bytes = sum(len(command) for _, command, _ in self._waiting)

    def _next_waiting(self) -> tuple[bytes, Answer]:
        _, command, reply = self._waiting.popleft()
        self._waiting_bytes -= len(command)
        return command, reply

    def _expire(self) -> None:
        """Fail what has waited long enough. All wait equally long, so the oldest is always at the head."""
        now = self._loop.time()
        self._expiry = None
        while self._waiting and (self._waiting[0][2].done() or self._waiting[0][0] <= now):
            _, reply = self._next_waiting()
            if not reply.done():
                reply.set_exception(ServerUnreachable(self.label, self._patience.send, self._reason()))
        if self._waiting:
            self._expiry = self._loop.call_at(self._waiting[0][0], self._expire)

    def _reason(self) -> BaseException | str | None:
        return "it does not read" if self._connection is not None else self._trouble

    def _send_waiting(self) -> None:
        connection = self._connection
        while self._waiting and connection is not None and not connection.paused:
            command, reply = self._next_waiting()
            if not reply.done():
                connection.send(command, reply)

    def _fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            _, reply = self._next_waiting()
            if not reply.done():
                reply.set_exception(error)

    # Life

    def start(self) -> None:
        """Connect, and stay connected until `close()`."""
        if not self.is_started:
            self._supervisor = self._loop.create_task(self._supervise(), name=f"fast-channels {self.label}")

    async def close(self) -> None:
        """End the connection after what was sent is written, and stop reconnecting. Idempotent; a call opens it
        again.
        """
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        connection = self._connection
        supervisor.cancel()
        await asyncio.wait({supervisor}, timeout=1)
        self._down_since = None
        if connection is not None:
            await asyncio.wait({connection.lost}, timeout=1)
            connection.close(ConnectionError("the layer was closed"))  # it could not be written
        self._fail_waiting(ServerUnreachable(self.label, 0.0, "the layer was closed"))

    def abandon(self) -> None:
        """Let go of everything after the event loop was closed under it."""
        if self._supervisor is not None:
            forget(self._supervisor)
            self._supervisor = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            connection = await self._connect(attempt)
            attempt += 1
            if connection is None:
                continue
            up_since = self._loop.time()
            self._use(connection)
            try:
                await self._watch(connection)
            except asyncio.CancelledError:
                await self._end(connection)
                raise
            finally:
                self._connection = None
                self._down_since = connection.heard_at  # also if this task is cancelled, and started again later
                connection.finish()
            attempt = 0 if self._loop.time() - up_since > STABLE else min(attempt, 3)
            self._lost(connection)

    async def _end(self, connection: Connection) -> None:
        """End the connection before whoever cancels all tasks closes the loop: TLS takes a few turns of it."""
        self._connection = None
        if self._supervisor is asyncio.current_task():
            self._supervisor = None  # who has more to send starts another one
        connection.finish()
        await asyncio.wait({connection.lost}, timeout=1)

    async def _connect(self, attempt: int) -> Connection | None:
        pause = backoff(attempt, random.random())  # noqa: S311 - it spreads reconnections
        await asyncio.sleep(min(pause, max(self._patience.send / 2, 0.1)))  # who waits sees an attempt in their time
        connection: Connection | None = None
        try:
            connection = await unshared(lambda: self._endpoint.connect(self._pushed, self._send_waiting))
            async with asyncio.timeout(self._patience.restore):
                await self._events.on_connect(connection)
        except BaseException as error:
            if connection is not None:
                connection.close(error)
                if self._down_since is None:  # something may have been confirmed already, and is lost now
                    self._down_since = connection.heard_at
            if not isinstance(error, Exception):
                raise
            self._failed(error)
            return None
        return connection

    def _failed(self, error: Exception) -> None:
        self._trouble = error if str(error) else ConnectionError(f"{type(error).__name__} while connecting")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        if isinstance(error, ServerRefused):
            logger.log(level, "%s; trying again%s", error, self._purpose)
        else:
            logger.log(level, "%s cannot be reached%s: %s; trying again", self.label, self._purpose, self._trouble)
        if isinstance(error, ServerRefused) and not passes_by_itself(error):
            self._fail_waiting(error)
            self._events.on_refused(error)

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        self._sound_at = self._agreed_at = self._loop.time()
        self._trouble = None
        self._complained = False
        if self._down_since is not None:
            outage = self._loop.time() - self._down_since
            self._down_since = None
            self.reconnections += 1
            logger.warning("%s is back%s after %.2f s", self.label, self._purpose, outage)
            self._events.on_up(outage)
        self._send_waiting()

    def _lost(self, connection: Connection) -> None:
        reason = connection.lost.result() if connection.lost.done() else ConnectionError("the connection was closed")
        self._trouble = reason
        self.disconnections += 1
        logger.warning("the connection to %s%s is lost: %s; connecting again", self.label, self._purpose, reason)
        self._events.on_down(reason)

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection is lost; end it if the server falls silent, or is no master any more."""
        lost = connection.lost
        while not lost.done():
            waiting: set[asyncio.Future[Any]] = {lost, connection.suspected}
            await asyncio.wait(waiting, timeout=self._patience.ping_every, return_when=asyncio.FIRST_COMPLETED)
            if connection.suspected.done():
                connection.suspected = self._loop.create_future()
            if not lost.done():
                await self._ping(connection)
            if not lost.done():
                await self._ask_elsewhere(connection)

    async def _ping(self, connection: Connection) -> None:
        pong = connection.execute("HELLO")  # a ping that any user may send, and that says what the server is
        waiting = {pong, connection.lost}
        asked_at = self._loop.time()
        silent = 0  # half times: the first may have passed while something blocked the event loop, and the ping with it
        while silent < 2 and not pong.done() and not connection.lost.done():
            heard = connection.heard_at
            await asyncio.wait(waiting, timeout=self._patience.answer / 2, return_when=asyncio.FIRST_COMPLETED)
            silent = silent + 1 if connection.heard_at == heard else 0
        if pong.done():
            self._check(connection, pong, asked_at)
        elif silent == 2:
            connection.close(TimeoutError(f"no answer to a ping for {self._patience.answer:g} s"))
            await asyncio.wait({connection.lost}, timeout=1)

    async def _ask_elsewhere(self, connection: Connection) -> None:
        """End a connection to a server that others have replaced, though it does not know."""
        master = await self._endpoint.another_master(connection)
        if master is None:
            self._agreed_at = max(self._agreed_at, self._endpoint.asked_at)
        elif not connection.lost.done():
            connection.heard_at = self._agreed_at  # somebody else may be the master since then
            connection.close(ConnectionError(f"most Sentinels name another master, {master}"))

    def _check(self, connection: Connection, pong: "asyncio.Future[Any]", asked_at: float) -> None:
        """End a connection to a server that cannot serve: it says so (`MASTERDOWN`), or it has become a replica."""
        error = pong.exception()
        if isinstance(error, ReplyError):
            connection.close(error)
        elif error is None and is_replica(pong.result()):
            connection.heard_at = self._sound_at  # it may be a replica since then
            connection.close(ConnectionError(REPLICA))
        else:
            self._sound_at = asked_at

    def _pushed(self, push: list[Any]) -> None:
        self._events.on_push(push)


async def reply_of(link: Commands, command: bytes) -> Any:
    """Send `command` over `link` and return its reply, with the errors that `Link.call` names."""
    try:
        return await link.submit(command)
    except (ReplyError, ConnectionError) as error:
        if isinstance(error, ServerUnreachable):
            raise
        raise failure_of(link.label, error) from None


def backoff(attempt: int, chance: float) -> float:
    """Seconds to wait before the attempt: none at first, then up to 0.1 s, doubling to 2 s; `chance` is in [0, 1)."""
    return 0.0 if attempt == 0 else (0.2 + 0.8 * chance) * min(2.0, 0.1 * 2.0 ** min(attempt - 1, 10))


def passes_by_itself(error: ServerRefused) -> bool:
    """Whether a server that refused a connection, or its greeting, may take the next one."""
    return error.answer.startswith(PASSING)


def forget(task: "asyncio.Task[None]") -> None:
    """Say nothing when a task of a loop that is closed is collected: nobody can end it any more."""
    with contextlib.suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
