"""A WebSocket client for an application under test."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from fast_channels.testing.application import ApplicationCommunicator
from fast_channels.type_defs import ChannelApplication, ChannelHeaders, ChannelMessage

__all__ = ["WebsocketCommunicator"]


class WebsocketCommunicator(ApplicationCommunicator):
    """One WebSocket connection to an application: a consumer, a route, or a whole Starlette or FastAPI application.

    Args:
        application: an ASGI application.
        path: with a query string, if it has one; percent-encoded, as in a URL.
        headers: the request's headers, names in lower case.
        subprotocols: those that the client offers.
        spec_version: the version of the ASGI WebSocket specification, for `scope["asgi"]["spec_version"]`.
        cancel_on_timeout: see `ApplicationCommunicator`.

    `scope` may be changed before `connect()`; `response_headers` are those that the application accepted with.
    """

    def __init__(
        self,
        application: ChannelApplication,
        path: str,
        headers: ChannelHeaders | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: int | str | None = None,
        *,
        cancel_on_timeout: bool = True,
    ) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path must be a string, not {type(path).__name__}")
        url = urlsplit(path)
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": unquote(url.path),
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": list(headers or []),
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
            "subprotocols": list(subprotocols or []),
        }
        if spec_version is not None:
            scope["asgi"]["spec_version"] = spec_version
        super().__init__(application, scope, cancel_on_timeout=cancel_on_timeout)
        self.response_headers: list[tuple[bytes, bytes]] | None = None

    async def connect(self, timeout: float = 1) -> tuple[bool, str | int | None]:
        """Open the connection: (True, the subprotocol) if it is accepted, (False, the close code) if it is refused.

        An application that refuses with an HTTP response gives (False, the status).

        Raises:
            AssertionError: the application answered with something else.
            TimeoutError: it did not answer in `timeout` seconds.
        """
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout)
        match answer["type"]:
            case "websocket.accept":
                self.response_headers = list(answer.get("headers") or [])
                return True, answer.get("subprotocol")
            case "websocket.close":
                return False, answer.get("code", 1000)
            case "websocket.http.response.start":
                self.response_headers = list(answer.get("headers") or [])
                return False, answer["status"]
        raise AssertionError(f"the application must accept or close first, but sent {answer!r}")

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send a frame: text or bytes. An empty one is a frame too.

        Raises:
            AssertionError: both or neither are given, or one is of another type.
        """
        if (text_data is None) == (bytes_data is None):
            raise AssertionError("You must supply exactly one of text_data or bytes_data")
        if text_data is not None:
            _expect(text_data, str, "The text_data argument must be a str")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            _expect(bytes_data, bytes, "The bytes_data argument must be bytes")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send `data` as JSON, in a text frame."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """The next frame that the application sends.

        Raises:
            AssertionError: it sent something else: it closed the connection, say.
            TimeoutError: it sent nothing in `timeout` seconds.
        """
        event = await self.receive_output(timeout)
        if event["type"] != "websocket.send":
            raise AssertionError(f"Expected type 'websocket.send', but was {event['type']!r}: {event!r}")
        return _payload(event)

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """What is in the next frame, which must be text, decoded from JSON.

        Raises:
            AssertionError: it sent something else, or the frame is binary.
            TimeoutError: it sent nothing in `timeout` seconds.
            ValueError: the text is no JSON.
        """
        payload = await self.receive_from(timeout)
        _expect(payload, str, f"JSON data is not a text frame, it is {type(payload)}")
        return json.loads(payload)

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Close the connection from the client's side, and wait until the application returns.

        Nothing happens if a timeout has cancelled the application before.

        Raises:
            TimeoutError: it did not return in `timeout` seconds.
        """
        if not self.cancelled:
            await self.send_input({"type": "websocket.disconnect", "code": code})
        await self.wait(timeout)


def _payload(event: ChannelMessage) -> str | bytes:
    text, data = event.get("text"), event.get("bytes")
    if (text is None) == (data is None):
        raise AssertionError(f"The response needs exactly one of 'text' or 'bytes': {event!r}")
    if text is not None:
        _expect(text, str, f"Text frame payload is not str, it is {type(text)}")
        return str(text)
    _expect(data, bytes, f"Binary frame payload is not bytes, it is {type(data)}")
    return bytes(data or b"")


def _expect(value: object, kind: type, otherwise: str) -> None:
    if not isinstance(value, kind):
        raise AssertionError(otherwise)
