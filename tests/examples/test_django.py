"""A project of Django, with Channels, whose layers are ours, shares a group with an application of FastAPI."""

import json

import httpx
import pytest

from tests.examples.programs import Program, address_of, hear, uvicorn, websocket
from tests.support.waiting import PATIENCE

DJANGO = "examples.django.asgi:application"


def tell(server: Program, layer: str, text: str) -> None:
    """Have the view send."""
    answer = httpx.get(f"http://{address_of(server)}/tell/{layer}", params={"text": text}, timeout=PATIENCE)
    assert answer.text == f"told {text}", server.text


@pytest.mark.parametrize(("layer", "path"), [("default", "/ws/news"), ("live", "/ws/live")])
def test_django_and_fastapi_share_a_group(layer: str, path: str, redis_url: str) -> None:
    with (
        uvicorn(DJANGO, REDIS_URL=redis_url) as django,
        uvicorn("examples.django.live:app", REDIS_URL=redis_url) as fastapi,
        websocket(django, path) as at_django,
        websocket(fastapi, path) as at_fastapi,
    ):
        for sender in (at_django, at_fastapi):
            sender.send(json.dumps({"text": "hello"}))
            assert hear(at_django, 1) == [{"text": "hello", "by": "Django"}]
            assert hear(at_fastapi, 1) == [{"text": "hello", "by": "FastAPI"}]
        for text in ("from a view", "and again"):
            tell(django, layer, text)
            assert hear(at_django, 1) == [{"text": text, "by": "Django"}]
            assert hear(at_fastapi, 1) == [{"text": text, "by": "FastAPI"}]
        for server in (django, fastapi):
            server.end()
            assert "Traceback" not in server.text


def test_django_in_one_process_needs_no_server() -> None:
    with (
        uvicorn(DJANGO) as django,
        websocket(django, "/ws/local") as one,
        websocket(django, "/ws/local") as other,
    ):
        one.send(json.dumps({"text": "hello"}))
        tell(django, "local", "from a view")
        for socket in (one, other):
            assert [event["text"] for event in hear(socket, 2)] == ["hello", "from a view"]
