"""One connection of a thread: what it sends and reads, and when it is over."""

import socket
import time
from collections.abc import Iterator

import pytest
from hiredis import ReplyError

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.blocking_connection import BlockingConnection, answering, connect
from fast_channels.layers.redis.config import Server, parse_hosts
from fast_channels.layers.redis.connection import packed
from fast_channels.testing.server import ServerProcess
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def server_at(url: str) -> Server:
    (server,) = parse_hosts([url])
    assert isinstance(server, Server)
    return server


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[BlockingConnection]:
    connection = connect(server_at(proxy.url), "it", soon())
    yield connection
    connection.close()


def test_replies_come_in_the_order_of_their_commands(connection: BlockingConnection) -> None:
    connection.write(packed("ECHO", "a"), packed("ECHO", "b"), deadline=soon())
    assert [connection.read(soon()) for _ in range(2)] == [b"a", b"b"]
    assert connection.call("ECHO", "c", deadline=soon()) == b"c"


def test_an_error_of_the_server_is_a_reply(connection: BlockingConnection) -> None:
    assert isinstance(connection.call("NONSENSE", deadline=soon()), ReplyError)
    assert connection.is_usable()


def test_a_large_reply_is_read_whole(connection: BlockingConnection) -> None:
    text = b"x" * 3_000_000
    assert connection.call("ECHO", text, deadline=soon()) == text


def test_pushes_are_no_replies(connection: BlockingConnection) -> None:
    connection.write(
        packed("CLIENT", "TRACKING", "ON"), packed("GET", "key"), packed("SET", "key", "1"), deadline=soon()
    )
    assert [connection.read(soon()) for _ in range(3)] == [b"OK", None, b"OK"]


def test_of_several_who_answers_first_is_heard_first(
    connection: BlockingConnection, proxy: Proxy, redis_url: str
) -> None:
    proxy.blackhole()
    other = connect(server_at(redis_url), "the other one", soon())
    for each in (connection, other):
        each.write(packed("PING"), deadline=soon())
    assert answering([connection, other], soon()) == [other]
    assert other.read(soon()) == b"PONG"
    assert answering([connection, other], soon(0.05)) == []
    other.close()
    assert answering([connection, other], soon()) == [other], "it is over: there is nothing to wait for"


def test_what_takes_too_long_ends_it(connection: BlockingConnection, proxy: Proxy) -> None:
    proxy.blackhole()
    with pytest.raises(TimeoutError):
        connection.call("PING", deadline=soon(0.05))
    assert not connection.is_usable()
    assert repr(connection) == "<BlockingConnection over: 1 commands without a reply>"


def test_the_other_side_may_end_it(connection: BlockingConnection, proxy: Proxy) -> None:
    assert connection.is_usable()
    proxy.cut()
    with pytest.raises(OSError, match=r"closed|reset|abort|pipe"):
        connection.call("PING", deadline=soon())
    assert not connection.is_usable()


def test_that_is_seen_before_anything_is_sent(connection: BlockingConnection, proxy: Proxy) -> None:
    proxy.cut()
    deadline = soon()
    while connection.is_usable():
        assert time.monotonic() < deadline


def test_whoever_did_not_read_an_answer_leaves_it_to_nobody(connection: BlockingConnection) -> None:
    connection.write(packed("ECHO", "a"), deadline=soon())
    assert not connection.is_usable()


def test_what_is_no_answer_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = BlockingConnection(ours, ("it", 1))
        connection.write(packed("PING"), deadline=soon())
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ConnectionError, match="Protocol error"):
            connection.read(soon())
        assert not connection.is_usable()


def test_it_is_greeted_in_its_database(proxy: Proxy) -> None:
    connection = connect(server_at(f"{proxy.url}/3"), "it", soon())
    assert b" db=3 " in connection.call("CLIENT", "INFO", deadline=soon())
    assert b" name=fast-channels " in connection.call("CLIENT", "INFO", deadline=soon())
    connection.close()
    connection.close()


def test_a_unix_socket(own_server: ServerProcess) -> None:
    connection = connect(server_at(f"unix://{own_server.socket_path}"), "it", soon())
    assert connection.call("PING", deadline=soon()) == b"PONG"
    connection.close()


def test_a_server_that_will_not_have_us_says_why(proxy: Proxy) -> None:
    with pytest.raises(ServerRefused, match="it refused: ERR DB index is out of range"):
        connect(server_at(f"{proxy.url}/99"), "it", soon())


def test_a_server_that_is_silent_is_given_up(proxy: Proxy) -> None:
    proxy.blackhole()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connect(server_at(proxy.url), "it", soon(0.05))
    assert time.monotonic() - began < PATIENCE / 2
