"""A project of Django, with Channels, whose layers are ours, shares a group with an application of FastAPI."""

import json

import httpx
import pytest

from tests.examples.programs import Program, address_of, hear, uvicorn, websocket
from tests.support.waiting import PATIENCE

DJANGO = "examples.django.asgi:application"


def ask(server: Program, view: str, text: str) -> None:
    """Have a view send."""
    answer = httpx.get(f"http://{address_of(server)}/{view}", params={"text": text}, timeout=PATIENCE)
    assert answer.status_code == 200, server.text


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
        for view, text in 2 * [("tell", "from a view"), ("shout", "FROM A VIEW")]:
            ask(django, f"{view}/{layer}", "from a view")
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
        assert hear(one, 1) == hear(other, 1) == [{"text": "hello", "by": "Django"}]
        for view, text in (("tell", "from a view"), ("shout", "FROM A VIEW")):
            ask(django, f"{view}/local", "from a view")
            assert hear(one, 1) == hear(other, 1) == [{"text": text, "by": "Django"}]
