"""The chat in FastAPI, in several processes, until they end."""

import json
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from fast_channels.testing.server import ServerProcess
from tests.examples.programs import Program, address_of, hear, uvicorn, websocket
from tests.support.waiting import PATIENCE


def chat(redis_url: str, **environment: str) -> Program:
    return uvicorn("examples.fastapi.main:app", REDIS_URL=redis_url, DRAIN_OVER="1", **environment)


def line(user: str, text: str) -> dict[str, str]:
    return {"user": user, "text": text}


def get_ready(server: Program) -> httpx.Response:
    return httpx.get(f"http://{address_of(server)}/ready", timeout=PATIENCE)


def closed(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            socket.recv(timeout=PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def test_a_room_in_two_processes(redis_url: str) -> None:
    with chat(redis_url) as near, chat(redis_url) as far:
        with websocket(near, "/rooms/attic?token=a-token") as ada:
            assert hear(ada, 1) == [line("Ada", "has come")]
            with websocket(far, "/rooms/attic?token=b-token&silent=true") as ben:
                ada.send(json.dumps({"text": "hello"}))
                assert hear(ada, 1) == hear(ben, 1) == [line("Ada", "hello")]
                url = f"http://{address_of(near)}/rooms/attic/lines"
                assert httpx.post(url, params={"text": "We close"}, timeout=PATIENCE).status_code == 202
                assert hear(ada, 1) == hear(ben, 1) == [line("the house", "We close")]
                ben.send("x" * (64 * 1024 + 1))
                assert closed(ben) == 1009
        for server in (near, far):
            server.end()
            assert "the chat is closed" in server.text
            assert "Traceback" not in server.text


def test_who_is_not_let_in(redis_url: str) -> None:
    with chat(redis_url) as server:
        for path in ("/rooms/attic", "/rooms/attic?token=x", "/rooms/A1?token=a-token"):
            with pytest.raises(InvalidStatus, match="403"), websocket(server, path):
                raise AssertionError("nobody is to come here")


def test_it_is_ready_while_its_server_is(redis_url: str) -> None:
    with ServerProcess() as redis, chat(redis.url) as server:
        deadline = time.monotonic() + PATIENCE
        while (answer := get_ready(server)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
        assert answer.json() == {"state": "ready"}
        redis.stop()
        assert get_ready(server).status_code == 503
        assert "default: " in get_ready(server).json()["state"]


def test_everybody_is_told_to_come_back_when_it_ends(redis_url: str) -> None:
    with chat(redis_url) as server, websocket(server, "/rooms/attic?token=a-token") as ada:
        hear(ada, 1)
        server.process.terminate()
        assert closed(ada) == 1012
        server.process.wait(PATIENCE)
        assert "the chat is closed" in server.text
        assert "Traceback" not in server.text
