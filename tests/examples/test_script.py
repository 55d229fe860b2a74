"""Plain scripts speak to everybody who listens."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.sync.client import ClientConnection

from tests.examples.programs import Program, uvicorn, websocket
from tests.support.waiting import PATIENCE


@pytest.fixture
def sockets(redis_url: str) -> Iterator[list[ClientConnection]]:
    with ExitStack() as stack:
        server = stack.enter_context(uvicorn("examples.script.board:app", REDIS_URL=redis_url))
        yield [stack.enter_context(websocket(server, "/ws/board")) for _ in range(2)]


def heard(sockets: list[ClientConnection]) -> list[list[str | bytes]]:
    return [[socket.recv(timeout=PATIENCE) for _ in range(2)] for socket in sockets]


def run(redis_url: str, name: str, *arguments: str) -> None:
    with Program("python", "-m", f"examples.script.{name}", *arguments, REDIS_URL=redis_url) as script:
        assert script.process.wait(PATIENCE) == 0
        assert script.text == ""


def test_a_script_announces_to_every_socket(redis_url: str, sockets: list[ClientConnection]) -> None:
    run(redis_url, "announce", "We close at six", "Good night")
    assert heard(sockets) == [["We close at six", "Good night"]] * 2


def test_threads_share_a_layer(redis_url: str, sockets: list[ClientConnection]) -> None:
    run(redis_url, "patrol", "cellar", "attic")
    for texts in heard(sockets):
        assert set(texts) == {"All is well in the cellar", "All is well in the attic"}


def test_a_loop_for_each_time(redis_url: str, sockets: list[ClientConnection]) -> None:
    run(redis_url, "once")
    assert heard(sockets) == [["Tea is ready", "Tea is cold"]] * 2
