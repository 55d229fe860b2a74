"""The WebSocket communicator."""

from typing import Any

import pytest

from fast_channels.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.testing import WebsocketCommunicator


class Echo(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(subprotocol="chat", headers=[(b"x-name", b"value")])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4001)
        else:
            await self.send(text_data=text_data, bytes_data=bytes_data)


class EchoJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


def scripted(*events: dict[str, Any]) -> Any:
    """An application that sends these events, one for each that it gets."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await receive()
            await send(event)

    return application


ACCEPT = {"type": "websocket.accept"}


async def test_a_conversation() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws")
    assert not communicator.response_headers
    assert await communicator.connect() == (True, "chat")
    assert communicator.response_headers == [(b"x-name", b"value")]
    await communicator.send_to(text_data="hello")
    assert await communicator.receive_from() == "hello"
    await communicator.send_to(bytes_data=b"\0\xff")
    assert await communicator.receive_from() == b"\0\xff"
    assert await communicator.receive_nothing()
    await communicator.disconnect()


async def test_an_empty_frame_is_a_frame() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws")
    await communicator.connect()
    await communicator.send_to("")
    assert await communicator.receive_from() == ""
    await communicator.send_to(bytes_data=b"")
    assert await communicator.receive_from() == b""
    await communicator.disconnect()


async def test_json() -> None:
    communicator = WebsocketCommunicator(EchoJson.as_asgi(), "/ws")
    assert await communicator.connect() == (True, None)
    await communicator.send_json_to({"é": [1, None]})
    assert await communicator.receive_json_from() == {"é": [1, None]}
    await communicator.disconnect()


async def test_json_comes_in_a_text_frame() -> None:
    communicator = WebsocketCommunicator(scripted(ACCEPT, {"type": "websocket.send", "bytes": b"{}"}), "/ws")
    await communicator.connect()
    await communicator.send_to("")
    with pytest.raises(AssertionError, match="not a text frame, it is <class 'bytes'>"):
        await communicator.receive_json_from()


def test_the_scope() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/a%20b/é?x=%20&y", [(b"host", b"h")], ["chat", "talk"])
    scope = communicator.scope
    assert (scope["type"], scope["path"], scope["query_string"]) == ("websocket", "/a b/é", b"x=%20&y")
    assert (scope["headers"], scope["subprotocols"]) == ([(b"host", b"h")], ["chat", "talk"])
    assert scope["asgi"] == {"version": "3.0"}
    scope = WebsocketCommunicator(Echo.as_asgi(), "ws://server/a?b").scope
    assert (scope["path"], scope["query_string"], scope["headers"], scope["subprotocols"]) == ("/a", b"b", [], [])


@pytest.mark.parametrize("version", [3, "2.4"])
def test_the_version_of_the_specification_is_where_asgi_has_it(version: int | str) -> None:
    scope = WebsocketCommunicator(Echo.as_asgi(), "/", spec_version=version).scope
    assert scope["asgi"]["spec_version"] == version
    assert "spec_version" not in scope


@pytest.mark.parametrize("path", [None, b"/ws"])
def test_a_path_is_a_string(path: Any) -> None:
    with pytest.raises(TypeError, match="path must be a string"):
        WebsocketCommunicator(Echo.as_asgi(), path)


@pytest.mark.parametrize(
    ("event", "result"),
    [
        ({"type": "websocket.accept"}, (True, None)),
        ({"type": "websocket.accept", "subprotocol": "chat", "headers": []}, (True, "chat")),
        ({"type": "websocket.close"}, (False, 1000)),
        ({"type": "websocket.close", "code": 4003, "reason": "no"}, (False, 4003)),
        ({"type": "websocket.http.response.start", "status": 403, "headers": []}, (False, 403)),
    ],
)
async def test_the_answer_to_a_connection(event: dict[str, Any], result: tuple[bool, str | int | None]) -> None:
    communicator = WebsocketCommunicator(scripted(event), "/ws")
    assert await communicator.connect() == result
    await communicator.disconnect()


async def test_another_answer_is_an_assertion_error() -> None:
    communicator = WebsocketCommunicator(scripted({"type": "websocket.send", "text": "x"}), "/ws")
    with pytest.raises(AssertionError, match=r"must accept or close first, but sent \{'type': 'websocket.send'"):
        await communicator.connect()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "exactly one of text_data or bytes_data"),
        ({"text_data": "a", "bytes_data": b"a"}, "exactly one of text_data or bytes_data"),
        ({"text_data": b"a"}, "text_data argument must be a str"),
        ({"bytes_data": "a"}, "bytes_data argument must be bytes"),
    ],
)
async def test_a_frame_is_text_or_bytes(arguments: dict[str, Any], problem: str) -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws")
    await communicator.connect()
    with pytest.raises(AssertionError, match=problem):
        await communicator.send_to(**arguments)
    await communicator.disconnect()


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({"type": "websocket.close", "code": 4001}, "Expected type 'websocket.send', but was 'websocket.close'.*4001"),
        ({"type": "websocket.send"}, "exactly one of 'text' or 'bytes'"),
        ({"type": "websocket.send", "text": "a", "bytes": b"a"}, "exactly one of 'text' or 'bytes'"),
        ({"type": "websocket.send", "text": b"a"}, "not str"),
        ({"type": "websocket.send", "bytes": "a"}, "not bytes"),
    ],
)
async def test_what_is_no_frame_is_an_assertion_error(event: dict[str, Any], problem: str) -> None:
    communicator = WebsocketCommunicator(scripted(ACCEPT, event), "/ws")
    await communicator.connect()
    await communicator.send_to("x")
    with pytest.raises(AssertionError, match=problem):
        await communicator.receive_from()


@pytest.mark.parametrize(("text", "data"), [("", None), (None, b"")])
async def test_the_other_kind_of_payload_may_be_none(text: str | None, data: bytes | None) -> None:
    frame = {"type": "websocket.send", "text": text, "bytes": data}
    communicator = WebsocketCommunicator(scripted(ACCEPT, frame), "/ws")
    await communicator.connect()
    await communicator.send_to("x")
    assert await communicator.receive_from() == (data if text is None else text)


async def test_the_consumer_closes() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws")
    await communicator.connect()
    await communicator.send_to("close")
    assert (await communicator.receive_output())["code"] == 4001
    await communicator.disconnect(4001)


async def test_the_code_of_a_disconnect_reaches_the_application() -> None:
    codes: list[int] = []

    class Consumer(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            codes.append(code)

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws")
    await communicator.connect()
    await communicator.disconnect(code=4000)
    assert codes == [4000]
    await communicator.disconnect()


async def test_a_disconnect_raises_what_the_application_raised() -> None:
    class Consumer(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            raise ZeroDivisionError

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws")
    await communicator.connect()
    with pytest.raises(ZeroDivisionError):
        await communicator.disconnect()


async def test_after_a_timeout_a_disconnect_is_harmless() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws")
    await communicator.connect()
    with pytest.raises(TimeoutError):
        await communicator.receive_from(timeout=0.01)
    with pytest.raises(TimeoutError, match="was cancelled: receive_output"):
        await communicator.send_to("x")
    await communicator.disconnect()


async def test_waiting_may_be_harmless() -> None:
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws", cancel_on_timeout=False)
    await communicator.connect()
    with pytest.raises(TimeoutError):
        await communicator.receive_from(timeout=0.01)
    await communicator.send_to("still there")
    assert await communicator.receive_from() == "still there"
    await communicator.disconnect()
