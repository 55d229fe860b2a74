"""Which server holds what, and how to get a connection to it. The only place that knows.

An address (of an inbox, a group, a shared channel) belongs to one shard, for senders and receivers alike. A shard is an
`Endpoint`: a server, or a master that its Sentinels name anew at each connection.
"""

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hiredis import ReplyError
from redis.asyncio import Sentinel
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.certificates import explained, none_of_them
from fast_channels.layers.redis.config import SentinelMaster, Server
from fast_channels.layers.redis.connection import Connection, PushHandler

__all__ = [
    "ASK_AGAIN",
    "CONNECT_TIMEOUT",
    "QUICK",
    "REPLICA",
    "Endpoint",
    "Shards",
    "credentials_of",
    "greeting",
    "is_named_master",
    "is_replica",
    "most_named",
    "refusal",
    "sentinel_state",
    "shard_of",
]

ASK_AGAIN = 5.0
"""Seconds after which Sentinels are asked again who the master is, though a connection holds."""

QUICK = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
"""How a Sentinel is asked that others can stand in for."""

CONNECT_TIMEOUT = 5.0
"""Seconds for the connection and the greeting, unless `socket_connect_timeout` says otherwise."""


REPLICA = "REPLICA it is a replica: what is published there reaches nobody who listens at its master"


def is_replica(greeting: Any) -> bool:
    """Whether the server that answered HELLO follows another one. A failover makes that of a master, without a word."""
    return isinstance(greeting, dict) and greeting.get(b"role") not in (None, b"master")


class Shards:
    """Servers that share the load, as they stand in `hosts`: each address belongs to one, always the same."""

    def __init__(self, endpoints: Sequence["Endpoint"]) -> None:
        self._endpoints = endpoints

    def __len__(self) -> int:
        return len(self._endpoints)

    def __repr__(self) -> str:
        return f"<Shards {self.label}>"

    @property
    def label(self) -> str:
        """The servers as logs and errors name them."""
        return ", ".join(endpoint.label for endpoint in self._endpoints)

    def place_of(self, address: bytes) -> int:
        """Which server an address belongs to."""
        return shard_of(address, len(self._endpoints))

    def endpoint(self, place: int) -> "Endpoint":
        """The server at a place."""
        return self._endpoints[place]


def shard_of(address: bytes, shards: int) -> int:
    """The shard of an address: the one routing function, for senders and receivers.

    As in a Cluster, what stands in braces decides, so that what belongs together is together.
    """
    return zlib.crc32(tag_of(address)) % shards if shards > 1 else 0


def tag_of(address: bytes) -> bytes:
    """The part of an address that decides where it is: what stands in braces, or all of it."""
    _, opened, rest = address.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return tag if opened and closed and tag else address


class Endpoint:
    """A shard: something that can be connected to.

    Args:
        where: the server, or who knows it.
        any_role: whether a replica will do.
    """

    _first = 0  # the Sentinel that is asked first
    _asked_at = float("-inf")  # when all were asked
    _named: tuple[str, int] | None = None  # whom most of them named
    _named_at = float("-inf")  # when those were asked who named it: while they are asked again, it is what there is

    def __init__(self, where: Server | SentinelMaster, *, any_role: bool = False) -> None:
        self._where = where
        self._any_role = any_role

    @property
    def where(self) -> Server | SentinelMaster:
        """The server, or who knows it."""
        return self._where

    @property
    def label(self) -> str:
        """The server as logs and errors name it, without a password."""
        return self._where.label

    async def connect(self, on_push: PushHandler, on_writable: Callable[[], None]) -> Connection:
        """A new connection that has been greeted: authenticated, in its database.

        Raises:
            OSError: it cannot be reached (a time-out is one).
            ServerRefused: it answered, but will not have us: a wrong password, a server that is loading, a replica.
        """
        template = self._where.template if isinstance(self._where, Server) else self._where.server.template
        limit = getattr(template, "socket_connect_timeout", None) or CONNECT_TIMEOUT
        try:
            async with asyncio.timeout(limit):
                return await self._connect(await self._locate(limit), on_push, on_writable)
        except Exception:
            self._first += 1  # a Sentinel that is behind names the old master: another one may know better
            raise

    @property
    def asked_at(self) -> float:
        """When the Sentinels were asked that answered last, on the monotonic clock; infinite where there are none."""
        return float("inf") if isinstance(self._where, Server) else self._named_at

    async def another_master(self, connection: Connection) -> str | None:
        """The master that most Sentinels name, if it is not the one that `connection` leads to; else None.

        A master that is cut off from its Sentinels still calls itself one, and takes what nobody will hear. They are
        asked once in `ASK_AGAIN` seconds, for all connections. Of a connection that is younger than their answer they
        have said nothing: it may lead to who was made the master since.
        """
        if isinstance(self._where, Server):
            return None
        now = time.monotonic()
        if now - self._asked_at > ASK_AGAIN:
            self._asked_at = now
            asking = (_ask(node, self._where.name, {**QUICK, **self._where.sentinel_options})
                      for node in self._where.sentinels)  # fmt: skip
            answers = await asyncio.gather(*asking, return_exceptions=True)
            named = Counter((host, int(port)) for host, port in (each for each in answers if isinstance(each, tuple)))
            self._named, self._named_at = most_named(named, len(self._where.sentinels)), now
        if self._named is None or self._named == connection.peer or self._named_at < connection.begun_at:
            return None
        self._first += 1  # whoever named the other one is behind
        return "{}:{}".format(*self._named)

    async def _connect(self, server: Server, on_push: PushHandler, on_writable: Callable[[], None]) -> Connection:
        connection = await _open(server, on_push, on_writable)
        connection.peer = (server.host, int(server.port))
        try:
            await self._greet(server, connection)
        except BaseException as error:
            connection.close(error)
            raise
        return connection

    async def _locate(self, limit: float) -> Server:
        if isinstance(self._where, Server):
            return self._where
        # They are asked in turn: one that does not answer leaves time for the others, and for the connection.
        share = limit / (len(self._where.sentinels) + 1)
        patience = {"socket_connect_timeout": share, "socket_timeout": share, "retry": Retry(NoBackoff(), 0)}
        failed: dict[tuple[str, int], BaseException] = {}
        first = self._first % len(self._where.sentinels)
        for node in (*self._where.sentinels[first:], *self._where.sentinels[:first]):
            try:
                host, port = await _ask(node, self._where.name, {**patience, **self._where.sentinel_options})
            except (RedisError, OSError) as error:
                failed[node] = explained(error, node[0])
            else:
                return self._where.server.at(host, port)
        raise none_of_them("no Sentinel names a master", failed)

    async def _greet(self, server: Server, connection: Connection) -> None:
        try:
            greeting, *_ = await asyncio.gather(*await _log_in(server, connection))
        except ReplyError as error:
            raise refusal(self.label, error) from None
        if is_replica(greeting) and not self._any_role:
            raise ServerRefused(self.label, REPLICA)


def most_named(named: "Counter[tuple[str, int]]", sentinels: int) -> tuple[str, int] | None:
    """The master that more than half of all Sentinels name."""
    most = named.most_common(1)
    return most[0][0] if most and 2 * most[0][1] > sentinels else None


def is_named_master(state: Mapping[str, Any] | None) -> bool:
    """Whether a Sentinel takes what it knows by a name for a master that is up."""
    return bool(state and state["is_master"] and not state["is_sdown"] and not state["is_odown"])


async def _ask(node: tuple[str, int], name: str, options: dict[str, Any]) -> tuple[str, int]:
    """The address of the master `name` that one Sentinel gives."""
    state = await sentinel_state(node, name, options)
    if not is_named_master(state):
        raise ConnectionError(f"it knows no master {name!r} that is up")
    return state["ip"], state["port"]


async def sentinel_state(node: tuple[str, int], name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What one Sentinel knows of the master `name`; nothing if it knows none of that name.

    Raises:
        RedisError, OSError: it does not answer.
    """
    client: Any = Sentinel([node], sentinel_kwargs=dict(options)).sentinels[0]  # type: ignore[no-untyped-call]
    try:
        return (await client.sentinel_masters()).get(name) or {}
    finally:
        await client.aclose()


async def _open(server: Server, on_push: PushHandler, on_writable: Callable[[], None]) -> Connection:
    loop = asyncio.get_running_loop()

    def factory() -> Connection:
        return Connection(on_push, on_writable)

    if server.path is not None:
        _, connection = await loop.create_unix_connection(factory, server.path)
    elif isinstance(server.template, SSLConnection):
        try:
            context = server.template.ssl_context.get()
            _, connection = await loop.create_connection(factory, server.host, server.port, ssl=context)
        except OSError as error:
            raise explained(error, server.host) from error
    else:
        _, connection = await loop.create_connection(factory, server.host, server.port)
    return connection


async def _log_in(server: Server, connection: Connection) -> "list[asyncio.Future[Any]]":
    """Send the greeting. In a frame that is gone when it is refused: tools that report errors show local variables."""
    return [connection.execute(*command) for command in greeting(server, *await _credentials(server))]


def greeting(server: Server, username: str, password: str | None) -> list[tuple[str, ...]]:
    """The commands with which a connection begins: HELLO, then the database."""
    commands = [_hello(username, password, server.template.client_name or "fast-channels")]
    if server.template.db:
        commands.append(("SELECT", str(server.template.db)))
    return commands


def refusal(label: str, error: ReplyError) -> ServerRefused:
    """What to say of a greeting that was refused."""
    answer, _, _ = str(error).partition(", with args")  # of a command that it does not know: the password
    return ServerRefused(label, answer)


async def _credentials(server: Server) -> tuple[str, str | None]:
    provider: Any = server.template.credential_provider
    ask = getattr(provider, "get_credentials_async", None)  # redis-py 5.1 asks the other one
    return _pair(await ask()) if ask is not None else credentials_of(server)


def credentials_of(server: Server) -> tuple[str, str | None]:
    """User and password; who provides them may block."""
    template: Any = server.template
    provider = template.credential_provider
    if provider is not None:
        return _pair(provider.get_credentials())
    return template.username or "default", template.password


def _pair(credentials: Sequence[str]) -> tuple[str, str | None]:
    return ("default", credentials[0]) if len(credentials) == 1 else (credentials[0], credentials[1])


def _hello(username: str, password: str | None, name: str) -> tuple[str, ...]:
    # a user may have no password, and is not the default one for that
    auth = ("AUTH", username, password or "") if password or username != "default" else ()
    return ("HELLO", "3", *auth, "SETNAME", name)
