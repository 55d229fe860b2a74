"""Who may ask a server for what: its own page, and no other."""

import pytest
from starlette.datastructures import Headers

from fast_channels.testing import HttpCommunicator, WebsocketCommunicator
from sandbox import control
from sandbox.main import app
from sandbox.origin import is_same_origin

HERE = "http://127.0.0.1:8000"
ELSEWHERE = ["http://evil.example", "http://127.0.0.1:8001", "https://127.0.0.1", "null", "http://[", ""]


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_another_origin_is_not_the_same(origin: str) -> None:
    assert is_same_origin(Headers({"host": "127.0.0.1:8000", "origin": origin})) is False


def test_the_own_origin_is_and_none_is_neither() -> None:
    assert is_same_origin(Headers({"host": "127.0.0.1:8000", "origin": HERE})) is True
    assert is_same_origin(Headers({"host": "127.0.0.1:8000"})) is None
    twice: list[tuple[bytes, bytes]] = [(b"host", b"127.0.0.1:8000"), *[(b"origin", HERE.encode())] * 2]
    assert is_same_origin(Headers(raw=twice)) is False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be killed."""
    killed: list[str] = []
    monkeypatch.setenv(control.FD, "99")
    monkeypatch.setenv(control.NAMES, "worker 1,clock")
    monkeypatch.setattr(control, "ask_to_kill", killed.append)
    return killed


async def ask(path: str, origin: str | None = None, host: str = "127.0.0.1:8000", method: str = "POST") -> int:
    """The status of the answer."""
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin is not None else [])]
    body = b'{"text": "hello"}'
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    communicator = HttpCommunicator(app, path, method=method, body=body, headers=headers)
    status: int = (await communicator.get_response(10))["status"]
    await communicator.wait(10)  # for what it does when the answer is out
    return status


def socket(origin: str | None = None) -> WebsocketCommunicator:
    """A connection to the card that has no layer."""
    headers = [(b"host", b"127.0.0.1:8000"), *([(b"origin", origin.encode())] if origin is not None else [])]
    return WebsocketCommunicator(app, "/ws/system", headers=headers)


async def test_the_page_may_kill_a_process_that_the_supervisor_named(asked: list[str]) -> None:
    assert await ask("/api/processes/worker%201/kill", HERE) == 202
    assert await ask("/api/processes/1/kill", HERE) == 404
    assert asked == ["worker 1"]


@pytest.mark.parametrize("origin", [None, *ELSEWHERE])
async def test_nobody_else_may(asked: list[str], origin: str | None) -> None:
    assert await ask("/api/processes/clock/kill", origin) == 403
    assert asked == []


async def test_a_foreign_name_for_this_machine_is_refused(asked: list[str]) -> None:
    assert await ask("/api/processes/clock/kill", "http://evil.example:8000", "evil.example:8000") == 400
    assert await ask("/", None, "evil.example:8000", "GET") == 400
    assert asked == []


async def test_the_page_of_somebody_else_can_neither_post_nor_connect() -> None:
    assert await ask("/api/notifications", "http://evil.example") == 403
    assert await ask("/api/server", "http://evil.example", method="GET") == 200  # the browser does not hand it on
    assert await socket("http://evil.example").connect() == (False, 4403)


@pytest.mark.parametrize("origin", [None, HERE])
async def test_the_own_page_and_who_comes_from_none_can_connect(origin: str | None) -> None:
    page = socket(origin)
    assert (await page.connect())[0]
    assert (await page.receive_json_from())["type"] == "hello"
    await page.send_json_to({"type": "say", "text": ""})
    assert (await page.receive_json_from())["type"] == "error"
    await page.send_to("{")
    assert (await page.receive_json_from())["text"] == "That is no JSON."
    await page.send_json_to({"type": "say", "text": "still here"})
    assert (await page.receive_json_from())["text"] == "still here"
    await page.disconnect()
