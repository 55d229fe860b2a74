"""The proxy does to a connection what it says."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from tests.support.proxy import Proxy, Side


class Echo:
    """A server that sends back what it gets, and keeps count."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.got = b""
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got += data
                    connection.sendall(data)
            except OSError:
                pass
        self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        yield connection


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    try:
        connection.sendall(b"hello")
        assert read(connection, 5) == b"hello"
    except BaseException:
        connection.close()
        raise
    return connection


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65536)


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def test_it_forwards(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"x" * 1_000_000)
    assert read(client, 1_000_000) == b"x" * 1_000_000
    assert proxy.from_client == proxy.from_server == 1_000_005
    assert (proxy.accepted, proxy.connections, proxy.swallowed) == (1, 1, 0)


def test_the_end_of_a_client_is_the_end_of_its_connection(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    client.close()
    until(lambda: echo.ended == 1 and proxy.connections == 0)


def test_cut_closes_both_sides_and_takes_new_connections(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.cut()
    assert client.recv(1) == b""
    until(lambda: echo.ended == 1)
    connect(proxy).close()


def test_cut_with_a_reset(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(reset=True)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_close_refuses_until_it_forwards_again(proxy: Proxy, client: socket.socket) -> None:
    proxy.close()
    assert client.recv(1) == b""
    with pytest.raises((AssertionError, ConnectionError)):
        connect(proxy)
    proxy.forward()
    connect(proxy).close()


def test_a_black_hole_swallows_in_silence(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.blackhole()
    client.sendall(b"lost")
    until(lambda: proxy.swallowed == 4)
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert echo.got == b"hello"
    proxy.forward()
    client.settimeout(5)
    client.sendall(b"again")
    assert read(client, 5) == b"again"


def test_a_dropped_reply_was_asked_for(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.drop_reply()
    client.sendall(b"do it")
    assert client.recv(1) == b""
    assert echo.got == b"hellodo it"
    connect(proxy).close()


def test_only_the_reply_that_is_meant_is_dropped(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.drop_reply(which=lambda reply: b"secret" in reply)
    client.sendall(b"plain")
    assert read(client, 5) == b"plain"
    client.sendall(b"a secret")
    assert client.recv(1) == b""
    assert echo.got == b"helloplaina secret"
    client = connect(proxy)
    client.sendall(b"a secret")
    assert read(client, 8) == b"a secret"
    client.close()


def test_a_reply_is_cut_in_the_middle(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.cut_reply_after(7)
    client.sendall(b"1234")
    assert read(client, 4) == b"1234"
    client.sendall(b"567890")
    assert read(client, 10) == b"567"
    assert echo.got == b"hello1234567890"
    connect(proxy).close()


def test_a_delay_keeps_the_order(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.05)
    begin = time.monotonic()
    for _ in range(10):
        client.sendall(b"a")
        client.sendall(b"b")
    assert read(client, 20) == b"ab" * 10
    assert 0.1 <= time.monotonic() - begin < 1


def test_a_delay_that_ends_keeps_the_order_of_what_is_under_way(proxy: Proxy, client: socket.socket) -> None:
    text = b"".join(b"%03d" % number for number in range(100))
    for start in range(0, len(text), 3):
        proxy.delay(0.02) if start % 2 else proxy.forward()
        client.sendall(text[start : start + 3])
    assert read(client, len(text)) == text


@pytest.mark.parametrize("side", get_args(Side))
def test_a_side_that_is_not_read_fills_its_buffers(proxy: Proxy, client: socket.socket, side: Side) -> None:
    proxy.stop_reading(side)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        send_for_ever(client)
    proxy.cut()
    until(lambda: proxy.connections == 0)


def test_without_a_server_a_connection_ends_at_once() -> None:
    with Proxy(1) as proxy, pytest.raises((AssertionError, ConnectionError)):
        connect(proxy)
    assert proxy.accepted == 1
