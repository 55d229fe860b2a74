"""One connection: commands out in order, replies and pushes back in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import hiredis
import pytest

from fast_channels.layers import forking
from fast_channels.layers.redis.config import Server, parse_hosts
from fast_channels.layers.redis.connection import ATTEMPTS, WRITE_BUFFER, Connection, packed, unshared
from fast_channels.testing.server import ServerProcess
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import until


class Counting:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.writes: list[int] = []

    def write(self, data: bytes) -> None:
        self.writes.append(len(data))
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Watched(Connection):
    """A connection whose pushes and writes are kept for a test to look at."""

    def __init__(self) -> None:
        self.pushes: list[Any] = []
        self.turned_writable = 0
        super().__init__(self.pushes.append, self._writable)

    def _writable(self) -> None:
        self.turned_writable += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire = Counting(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.BaseTransport, self.wire))


async def connected(url: str) -> Watched:
    server = parse_hosts([url])[0]
    assert isinstance(server, Server)
    _, connection = await asyncio.get_running_loop().create_connection(Watched, server.host, server.port)
    await connection.execute("HELLO", "3")
    return connection


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Watched]:
    connection = await connected(redis_url)
    yield connection
    connection.close(ConnectionError("the test is over"))
    await connection.lost


# Commands and replies


@both_loops
async def test_replies_come_in_the_order_of_their_commands(connection: Watched) -> None:
    echoes = await asyncio.gather(*(connection.execute("ECHO", str(number)) for number in range(10_000)))
    assert echoes == [b"%d" % number for number in range(10_000)]


@both_loops
async def test_what_is_sent_in_one_turn_of_the_loop_is_one_write(connection: Watched) -> None:
    connection.wire.writes.clear()
    await asyncio.gather(*(connection.execute("ECHO", str(number)) for number in range(1000)))
    assert len(connection.wire.writes) == 1
    await connection.execute("PING")
    assert len(connection.wire.writes) == 2


async def test_a_turn_that_sends_very_much_does_not_collect_it_all_first(connection: Watched) -> None:
    """Otherwise nobody would notice in time that the server does not read."""
    connection.wire.writes.clear()
    large = b"x" * (WRITE_BUFFER // 4)
    replies = [connection.execute("ECHO", large) for _ in range(20)]
    assert len(connection.wire.writes) >= 3
    assert max(connection.wire.writes) < 2 * WRITE_BUFFER
    assert await asyncio.gather(*replies) == [large] * 20


async def test_an_error_reply_belongs_to_its_command_alone(connection: Watched) -> None:
    before, wrong, after = connection.execute("PING"), connection.execute("NO-SUCH"), connection.execute("ECHO", "x")
    assert await before == b"PONG"
    with pytest.raises(hiredis.ReplyError, match="unknown command"):
        await wrong
    assert await after == b"x"


@both_loops
async def test_a_caller_that_is_cancelled_leaves_the_replies_of_the_others_in_place(connection: Watched) -> None:
    """A thousand cancellations, at any moment, among callers that go on."""
    chance = random.Random(1)
    cancelled = 0

    async def call(number: int) -> None:
        for step in range(10):
            text = b"%d-%d" % (number, step)
            assert await connection.execute("ECHO", text) == text

    async def disturb(tasks: list[asyncio.Task[None]]) -> None:
        nonlocal cancelled
        for task in tasks:
            if chance.random() < 0.1:
                await asyncio.sleep(0)
            cancelled += task.cancel()

    steady = [asyncio.create_task(call(number)) for number in range(100)]
    while cancelled < 1000:
        doomed = [asyncio.create_task(call(number)) for number in range(1000, 1100)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        await disturb(doomed)
        await asyncio.gather(*doomed, return_exceptions=True)
    await asyncio.gather(*steady)
    assert await connection.execute("ECHO", "last") == b"last"


async def test_an_error_for_a_caller_that_was_cancelled_is_nobodys(connection: Watched) -> None:
    connection.execute("NO-SUCH").cancel()
    assert await connection.execute("PING") == b"PONG"


# Subscriptions


@both_loops
async def test_a_subscription_resolves_when_every_address_is_confirmed(connection: Watched) -> None:
    addresses = [b"address-%d" % number for number in range(700)]
    before = connection.execute("PING")
    subscribed = connection.subscribe(b"SUBSCRIBE", addresses)
    after = connection.execute("PUBLISH", addresses[699], "hello")
    await subscribed
    assert before.done()
    assert await after == 1
    assert connection.pushes == [[b"message", addresses[699], b"hello"]]


async def test_commands_and_subscriptions_share_a_connection(connection: Watched) -> None:
    results: list[asyncio.Future[Any]] = []
    for number in range(200):
        address = b"shared-%d" % number
        results.append(connection.subscribe(b"SUBSCRIBE", [address, address + b"-2"]))
        results.append(connection.execute("PUBLISH", address, str(number)))
        results.append(connection.subscribe(b"UNSUBSCRIBE", [address]))
        results.append(connection.execute("PUBLISH", address, "nobody"))
    assert await asyncio.gather(*results) == [None, 1, None, 0] * 200
    assert [push[2] for push in connection.pushes] == [b"%d" % number for number in range(200)]


async def test_a_cancelled_subscription_leaves_the_replies_behind_it_in_place(connection: Watched) -> None:
    connection.subscribe(b"SUBSCRIBE", [b"a", b"b", b"c"]).cancel()
    assert await connection.execute("ECHO", "x") == b"x"
    assert connection.pushes == []


async def test_a_subscription_of_a_wrong_kind_is_refused_with_the_servers_words(connection: Watched) -> None:
    with pytest.raises(hiredis.ReplyError, match="unknown command"):
        await connection.subscribe(b"SUBSCRIBE-ALL", [b"a", b"b"])
    assert await connection.execute("ECHO", "x") == b"x"


# The end


@both_loops
async def test_the_end_of_a_connection_fails_who_waits_and_who_comes_later(proxy: Proxy) -> None:
    connection = await connected(proxy.url)
    proxy.blackhole()
    waiting = [connection.execute("PING") for _ in range(10)] + [connection.subscribe(b"SUBSCRIBE", [b"a"])]
    gone = connection.execute("PING")
    gone.cancel()
    await until(lambda: proxy.swallowed)
    proxy.cut()
    reason = await connection.lost
    for reply in waiting:
        with pytest.raises(ConnectionError, match=str(reason)):
            await reply
    with pytest.raises(ConnectionError):
        await connection.execute("PING")
    assert connection.paused
    assert repr(connection) == "<Connection lost: 0 commands without a reply>"


async def test_finishing_writes_what_waits_first(redis_url: str) -> None:
    listener, speaker = await connected(redis_url), await connected(redis_url)
    await listener.subscribe(b"SUBSCRIBE", [b"farewell"])
    reply = speaker.execute("PUBLISH", "farewell", "x")
    speaker.finish()
    await speaker.lost
    await until(lambda: listener.pushes == [[b"message", b"farewell", b"x"]])
    with pytest.raises(ConnectionError):
        await reply
    listener.close(ConnectionError())
    await listener.lost


async def test_who_speaks_another_protocol_is_left() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="Protocol error"):
            await connected(f"redis://127.0.0.1:{port}")
        await left.wait()


async def test_an_answer_that_nobody_asked_for_ends_the_connection_and_is_named(own_server: ServerProcess) -> None:
    first = await connected(own_server.url)
    await first.execute("CONFIG", "SET", "maxclients", "1")
    _, second = await asyncio.get_running_loop().create_connection(Watched, own_server.host, own_server.port)
    with pytest.raises(ConnectionError, match=r"max number of clients|closed the connection"):
        raise await second.lost
    first.close(ConnectionError())
    await first.lost


# A server that does not read


@both_loops
async def test_a_connection_says_when_the_server_does_not_read_and_when_it_does_again(
    own_server: ServerProcess,
) -> None:
    connection = await connected(own_server.url)
    own_server.pause()
    replies = []
    while not connection.paused:
        replies += [connection.execute("ECHO", b"x" * 65536) for _ in range(10)]
        await asyncio.sleep(0)
        assert len(replies) < 2000, "more than 128 MiB went to a server that does not read"
    assert connection.turned_writable == 0
    assert repr(connection).startswith("<Connection paused: ")
    own_server.resume()
    assert set(await asyncio.gather(*replies)) == {b"x" * 65536}
    await until(lambda: connection.turned_writable and not connection.paused)
    connection.close(ConnectionError())
    await connection.lost


def test_commands_are_packed_as_the_protocol_says() -> None:
    assert packed("SET", b"\xff", 12) == b"*3\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$2\r\n12\r\n"


# Forks


@both_loops
@pytest.mark.parametrize(("forks", "made"), [(0, 1), (1, 2), (2, 3), (100, ATTEMPTS)])
async def test_a_connection_whose_socket_a_child_may_have_is_made_again(redis_url: str, forks: int, made: int) -> None:
    connections: list[Watched] = []

    async def connect() -> Watched:
        if len(connections) < forks:
            forking._count()  # as in a parent that forks before there is a transport
        connections.append(await connected(redis_url))
        return connections[-1]

    connection = await unshared(connect)
    assert (connection, len(connections)) == (connections[-1], made)
    assert await connection.execute("PING") == b"PONG"
    connection.close(ConnectionError("the test is over"))
    for each in connections:
        assert isinstance(await each.lost, ConnectionError)
