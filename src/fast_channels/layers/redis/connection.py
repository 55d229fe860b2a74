"""One connection to a server: commands out in order, replies and pushes back in order.

It knows no server by name and never reconnects: `Link` does. It speaks RESP3, so that subscriptions and commands share
it.
"""

import asyncio
import contextlib
import socket
import time
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

from hiredis import PushNotification, Reader, ReplyError, pack_command

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.forking import forks, leave_descriptor_to_parent, start_afresh_in_children

__all__ = ["Answer", "Connection", "PushHandler", "Sink", "failure_of", "packed", "unshared"]

PushHandler = Callable[[list[Any]], None]
"""Gets every push but the confirmations of subscriptions: a list that begins with its kind."""

INCOMPLETE: Final = object()

CONFIRMATIONS: Final = frozenset({b"subscribe", b"unsubscribe", b"ssubscribe", b"sunsubscribe"})

WRITE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes that wait for a server that does not read before commands are held back."""

ATTEMPTS: Final = 4
"""Connections that are made at most, to get one that no child has, too."""


class Answer(Protocol):
    """What a reply goes to: a future, or something like one."""

    def done(self) -> bool:
        """Whether nobody waits for the reply any more."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Take the reply."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """There is none, or it is an error."""
        ...


class Sink:
    """Takes replies at once, where a future would hand them over in the next turn of the loop. It serves many."""

    __slots__ = ("set_exception", "set_result")

    def __init__(self, on_reply: Callable[[Any], None], on_error: Callable[[BaseException], None]) -> None:
        self.set_result = on_reply
        self.set_exception = on_error

    def done(self) -> bool:
        """It never is."""
        return False


class Connection(asyncio.Protocol):
    """A pipelined connection: any number of callers, one write per turn of the event loop, a future per command.

    A caller that is cancelled leaves its place in the line of replies, so the others get theirs. When the connection
    ends, every command without a reply fails with the error that ended it.

    Args:
        on_push: called with each push message.
        on_writable: called when the server reads again after it had stopped.
    """

    def __init__(self, on_push: PushHandler, on_writable: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_push = on_push
        self._on_writable = on_writable
        self._reader = Reader(notEnoughData=INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._replies: deque[Answer] = deque()
        self._confirmations: dict[Answer, tuple[bytes, int]] = {}  # of which kind, how many are left
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._preparing: list[Callable[[], None]] = []
        self._will_flush = False
        self._error: BaseException | None = None
        self.paused = False
        """Whether the server does not read, or the connection is over: then hold commands back."""
        self.heard_at = self._loop.time()
        """When something was last received, on the loop's clock: a sign of life."""
        self.begun_at = time.monotonic()
        """When it was made, on the monotonic clock."""
        self.peer: tuple[str, int] | None = None
        """Host and port that it leads to, as whoever made it named them."""
        self.forks = -1
        """`forking.forks()` when it was made: children that are forked later leave it to their parent."""
        self.lost: asyncio.Future[BaseException] = self._loop.create_future()
        """Resolves with the reason when the connection is over."""
        self.suspected: asyncio.Future[None] = self._loop.create_future()
        """Resolves when the server refuses writes: it follows another one now. Whoever asks it replaces this."""

    def __repr__(self) -> str:
        state = "lost" if self.lost.done() else "paused" if self.paused else "open"
        return f"<Connection {state}: {len(self._replies)} commands without a reply>"

    # Commands

    def execute(self, *args: bytes | str | int) -> "asyncio.Future[Any]":
        """Send a command; the future resolves with its reply or fails with `hiredis.ReplyError`."""
        return self.request(packed(*args))

    def request(self, command: bytes) -> "asyncio.Future[Any]":
        """`execute` for an encoded command."""
        reply = self._loop.create_future()
        self.send(command, reply)
        return reply

    def send(self, command: bytes, reply: Answer) -> None:
        """Send an encoded command, whose reply goes to `reply`."""
        if self._error is not None:
            _fail(reply, self._error)
            return
        self._replies.append(reply)
        self._outgoing.append(command)
        self._outgoing_size += len(command)
        if not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self._flush)
        elif self._outgoing_size > WRITE_BUFFER:
            self._write()

    def before_write(self, prepare: Callable[[], None]) -> None:
        """Call `prepare` before the next write, which it may add commands to: it comes in this turn of the loop, after
        everything that is ready to run. If the connection ends before, it is called then.
        """
        self._preparing.append(prepare)
        if not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self._flush)

    def subscribe(self, command: bytes, addresses: list[bytes]) -> "asyncio.Future[Any]":
        """Send a (un)subscribing `command`; the future resolves when the server has confirmed every address."""
        reply = self._loop.create_future()
        self._confirmations[reply] = (command.lower(), len(addresses))
        self.send(packed(command, *addresses), reply)
        return reply

    def close(self, error: BaseException) -> None:
        """End the connection now; commands without a reply fail with `error`."""
        self.paused = True
        if self._error is None:
            self._error = error
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Write what is waiting, then end the connection."""
        if self._loop.is_closed():  # under it: nothing can be written, and the transport ends with its loop
            return
        self._prepare()
        self._write()
        self.paused = True
        if self._error is None:
            self._error = ConnectionError("the connection was closed")
        if self._transport is not None:
            self._transport.close()

    def abandon(self) -> None:
        """Hang up after the event loop was closed under it, when the transport can do nothing any more."""
        transport, self._transport = self._transport, None
        self.paused = True
        if self._error is None:
            self._error = ConnectionError("its event loop was closed")
        sock = transport.get_extra_info("socket") if transport is not None else None
        if isinstance(sock, TransportSocket):  # uvloop closes its own
            with contextlib.suppress(OSError):  # the server was first
                sock.shutdown(socket.SHUT_RDWR)

    def _after_fork(self) -> None:
        """Leave the socket to the parent: the server sees its end when the parent ends it, not when the child ends."""
        inherited, self._socket = self._socket, None  # the child of this child has nothing to leave
        number = inherited.fileno() if inherited is not None else -1
        if number >= 0:  # else it is closed
            leave_descriptor_to_parent(number)

    def _flush(self) -> None:
        try:
            if self._preparing:
                self._prepare()
        finally:
            self._will_flush = False
            self._write()

    def _prepare(self) -> None:
        preparing, self._preparing = self._preparing, []
        for prepare in preparing:
            prepare()

    def _write(self) -> None:
        if self._outgoing and self._transport is not None:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._outgoing_size = 0
            self._transport.write(data)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._socket = transport.get_extra_info("socket")  # now: a TLS transport that is closed cannot say
        self.forks = forks()
        start_afresh_in_children(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        reader, replies = self._reader, self._replies
        reply: Any = None
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                if type(reply) is PushNotification:
                    self._pushed(reply)
                    continue
                future = replies.popleft()
                if future.done():
                    continue
                if type(reply) is ReplyError:
                    self._confirmations.pop(future, None)
                    future.set_exception(reply)
                    self._suspect(str(reply))
                else:
                    future.set_result(reply)
        except IndexError:  # before the greeting, a server says why it will not have us
            self.close(ConnectionError(f"an answer that nobody asked for: {reply}"))
        except Exception as error:  # no RESP: nothing after it can be trusted
            self.close(error)

    def _suspect(self, answer: str) -> None:
        if answer.startswith("READONLY") and not self.suspected.done():
            self.suspected.set_result(None)

    def _pushed(self, push: Any) -> None:
        if push[0] in CONFIRMATIONS and self._confirmed(push[0]):
            return
        self._on_push(push)

    def _confirmed(self, kind: bytes) -> bool:
        """Count a confirmation for the command at the head of the line; False if that does not wait for one."""
        reply = self._replies[0] if self._replies else None
        awaited, left = self._confirmations.get(reply, (b"", 0)) if reply is not None else (b"", 0)
        if reply is None or awaited != kind:
            return False
        if left > 1:
            self._confirmations[reply] = (kind, left - 1)
            return True
        del self._confirmations[reply]
        self._replies.remove(reply)
        if not reply.done():
            reply.set_result(None)
        return True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        if self._error is None:
            self.paused = False
            self._on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.paused = True
        if self._error is None:
            self._error = error or ConnectionError("the server closed the connection")
        for reply in self._replies:
            _fail(reply, self._error)
        self._replies.clear()
        self._confirmations.clear()
        self._outgoing.clear()
        self._prepare()
        if not self.lost.done():
            self.lost.set_result(self._error)


async def unshared(connect: Callable[[], Awaitable[Connection]]) -> Connection:
    """What `connect` makes; again, if this process forked before there was a transport: a child would keep the socket.

    A process that forks all the time gets one nevertheless.
    """
    for _ in range(ATTEMPTS - 1):
        before = forks()
        connection = await connect()
        if connection.forks == before:
            return connection
        connection.close(ConnectionError("the process forked while it was made"))
    return await connect()


def packed(*args: bytes | str | int) -> bytes:
    """A command as it is sent."""
    command: bytes = pack_command(args)  # type: ignore[arg-type]  # its stub asks for a tuple of one
    return command


def failure_of(server: str, error: Exception) -> Exception:
    """What to tell of a command whose reply failed with `error`."""
    if isinstance(error, ReplyError):
        return ServerRefused(server, str(error))
    if isinstance(error, ConnectionError) and not isinstance(error, ServerUnreachable):
        return OutcomeUnknown(server, error)
    return error


def _fail(reply: Answer, error: BaseException) -> None:
    if not reply.done():
        reply.set_exception(ConnectionError(str(error) or type(error).__name__))
        if isinstance(reply, asyncio.Future):
            reply.exception()  # a caller that was cancelled never asks for it
