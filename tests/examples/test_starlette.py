"""News in Starlette: read over a route, written over an endpoint and a request."""

import json

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.examples.programs import Program, address_of, hear, uvicorn, websocket
from tests.support.waiting import PATIENCE


def news(redis_url: str, **environment: str) -> Program:
    return uvicorn("examples.starlette.main:app", REDIS_URL=redis_url, **environment)


def test_readers_and_writers_in_two_processes(redis_url: str) -> None:
    with news(redis_url) as near, news(redis_url) as far, websocket(far, "/topics/weather") as reader:
        with websocket(near, "/desk/weather?password=secret") as writer:
            writer.send(json.dumps({"text": "rain"}))
            assert hear(reader, 1) == [{"topic": "weather", "text": "rain"}]
        url = f"http://{address_of(near)}/desk/weather"
        assert httpx.post(url, json={"text": "sun"}, timeout=PATIENCE).json() == {"published": "weather"}
        assert hear(reader, 1) == [{"topic": "weather", "text": "sun"}]
        ready = httpx.get(f"http://{address_of(far)}/ready", timeout=PATIENCE)
        assert (ready.status_code, ready.json()) == (200, {"state": "ready"})
        near.end()
        far.end()
        assert "Traceback" not in near.text + far.text


def test_writers_need_the_password(redis_url: str) -> None:
    with news(redis_url) as server, pytest.raises(InvalidStatus, match="403"), websocket(server, "/desk/weather"):
        raise AssertionError("nobody is to come here")


def test_pages_of_other_origins_are_refused(redis_url: str) -> None:
    with news(redis_url, ORIGINS="https://example.com") as server:
        url = f"ws://{address_of(server)}/topics/weather"
        with connect(url, origin=Origin("https://example.com"), proxy=None, open_timeout=PATIENCE):
            pass
        with (
            pytest.raises(InvalidStatus, match="403"),
            connect(url, origin=Origin("https://evil.example"), proxy=None),
        ):
            raise AssertionError("nobody is to come here")
