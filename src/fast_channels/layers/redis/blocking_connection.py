"""One connection to a server for a thread: commands out, as many replies back. It knows no server by name."""

import selectors
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, Final

from hiredis import PushNotification, Reader, ReplyError
from redis.asyncio.connection import SSLConnection

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.certificates import explained
from fast_channels.layers.redis.config import Server
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.topology import REPLICA, credentials_of, greeting, is_replica, refusal

__all__ = ["BlockingConnection", "answering", "connect"]

INCOMPLETE: Final = object()

LEAST: Final = 0.001
"""Seconds for which is waited at least: 0 would mean not to block."""


class BlockingConnection:
    """A connection that one thread uses at a time. When anything goes wrong on it, it is over.

    Deadlines are on the monotonic clock.
    """

    run_id: str | None = None
    """Which server it leads to, in which life of that; None: nobody has asked."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        self._socket = sock
        self._reader = Reader(notEnoughData=INCOMPLETE)
        self._owed = 0  # replies that were not read
        self.peer = peer
        """Host and port that it leads to, as whoever made it named them."""
        self.begun_at = self.checked_at = time.monotonic()
        """When it was made, and when the server last said what it is."""

    def __repr__(self) -> str:
        state = "over" if self._socket.fileno() < 0 else "open"
        return f"<BlockingConnection {state}: {self._owed} commands without a reply>"

    def __del__(self) -> None:
        self.close()  # whoever was interrupted while it had it could not

    def write(self, *commands: bytes, deadline: float) -> None:
        """Send encoded commands.

        Raises:
            OSError: it is over.
        """
        self._owed += len(commands)
        try:
            self._wait_until(deadline)
            self._socket.sendall(b"".join(commands))
        except BaseException:
            self.close()
            raise

    def read(self, deadline: float) -> Any:
        """The next reply; an error of the server is returned as `hiredis.ReplyError`.

        Raises:
            OSError: it is over.
        """
        try:
            reply = self._next()
            while reply is INCOMPLETE or type(reply) is PushNotification:
                if reply is INCOMPLETE:
                    self._receive(deadline)
                reply = self._next()
        except BaseException:  # also Ctrl-C: then nobody knows which reply comes next
            self.close()
            raise
        self._owed -= 1
        return reply

    def call(self, *args: bytes | str | int, deadline: float) -> Any:
        """Send a command and return its reply, as `read` does."""
        self.write(packed(*args), deadline=deadline)
        return self.read(deadline)

    def _next(self) -> Any:
        try:
            return self._reader.gets()
        except Exception as error:  # no RESP: nothing after it can be trusted
            raise ConnectionError(str(error)) from None

    def _receive(self, deadline: float) -> None:
        self._wait_until(deadline)
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(data)

    def _wait_until(self, deadline: float) -> None:
        self._socket.settimeout(max(LEAST, deadline - time.monotonic()))

    def is_usable(self) -> bool:
        """Whether a command may be sent: as far as one can see, it is open, and no reply is on its way to nobody."""
        if self._owed or self._socket.fileno() < 0:
            return False
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False  # it was closed, or says what nobody asked for

    def close(self) -> None:
        """End it. Idempotent."""
        self._socket.close()

    def listen_with(self, selector: selectors.BaseSelector) -> bool:
        """Have a selector hear what arrives; False: there is something to read already, or it is over."""
        if self._socket.fileno() < 0 or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return False
        selector.register(self._socket, selectors.EVENT_READ, self)
        return True


def answering(connections: Iterable[BlockingConnection], deadline: float) -> list[BlockingConnection]:
    """Those for which something arrives, as soon as there is one; nobody, if nothing does in time."""
    with selectors.DefaultSelector() as selector:
        known = [connection for connection in connections if not connection.listen_with(selector)]
        patience = 0.0 if known or not selector.get_map() else max(0.0, deadline - time.monotonic())
        return known + [key.data for key, _ in selector.select(patience)]


def connect(server: Server, label: str, deadline: float, *, any_role: bool = False) -> BlockingConnection:
    """A new connection that has been greeted: authenticated, in its database.

    Args:
        server: where.
        label: what errors call it.
        deadline: on the monotonic clock.
        any_role: whether a replica will do.

    Raises:
        OSError: it cannot be reached (a time-out is one).
        ServerRefused: it answered, but will not have us: a wrong password, a server that is loading, a replica.
    """
    connection = BlockingConnection(_open(server, deadline), (server.host, int(server.port)))
    try:
        _log_in(server, connection, deadline)
        _read_greeting(server, label, connection, deadline, any_role=any_role)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(server: Server, deadline: float) -> socket.socket:
    patience = max(LEAST, deadline - time.monotonic())
    if server.path is not None:
        return _open_unix(server.path, patience)
    sock = socket.create_connection((server.host, server.port), timeout=patience)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(server.template, SSLConnection):
            sock.settimeout(max(LEAST, deadline - time.monotonic()))
            return _encrypted(server, sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str, patience: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(patience)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _encrypted(server: Server, sock: socket.socket) -> ssl.SSLSocket:
    template: Any = server.template
    try:
        context: ssl.SSLContext = template.ssl_context.get()
        return context.wrap_socket(sock, server_hostname=server.host)
    except OSError as error:
        raise explained(error, server.host) from error


def _log_in(server: Server, connection: BlockingConnection, deadline: float) -> None:
    """Send the greeting. In a frame that is gone when it is refused: tools that report errors show local variables."""
    commands = [packed(*command) for command in greeting(server, *credentials_of(server))]
    connection.write(*commands, deadline=deadline)


def _read_greeting(
    server: Server, label: str, connection: BlockingConnection, deadline: float, *, any_role: bool
) -> None:
    answers = [connection.read(deadline) for _ in range(2 if server.template.db else 1)]
    for answer in answers:
        if isinstance(answer, ReplyError):
            raise refusal(label, answer)
    if is_replica(answers[0]) and not any_role:
        raise ServerRefused(label, REPLICA)
