"""An HTTP client for an application under test."""

from typing import Any
from urllib.parse import unquote, urlsplit

from fast_channels.testing.application import ApplicationCommunicator
from fast_channels.type_defs import ChannelApplication, ChannelHeaders

__all__ = ["HttpCommunicator"]


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request to an application.

    Args:
        application: an ASGI application.
        path: with a query string, if it has one; percent-encoded, as in a URL.
        method: `GET`, `POST`, ….
        body: the request's body, sent in one piece.
        headers: the request's headers, names in lower case.
        cancel_on_timeout: see `ApplicationCommunicator`.
    """

    def __init__(
        self,
        application: ChannelApplication,
        path: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: ChannelHeaders | None = None,
        cancel_on_timeout: bool = True,
    ) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path must be a string, not {type(path).__name__}")
        if not isinstance(body, bytes):
            raise TypeError(f"body must be bytes, not {type(body).__name__}")
        url = urlsplit(path)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method.upper(),
            "scheme": "http",
            "path": unquote(url.path),
            "raw_path": url.path.encode(),
            "query_string": url.query.encode(),
            "root_path": "",
            "headers": list(headers or []),
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
        }
        super().__init__(application, scope, cancel_on_timeout=cancel_on_timeout)
        self.body = body
        self._requested = False

    async def send_request(self, *, more_body: bool = False) -> None:
        """Send the request; with `more_body`, the test sends the rest itself, through `send_input`."""
        self._requested = True
        await self.send_input({"type": "http.request", "body": self.body, "more_body": more_body})

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """The response: `status`, `headers`, and the whole `body`. Sends the request first, if that was not done.

        Raises:
            AssertionError: the application sent something else.
            TimeoutError: it sent nothing for `timeout` seconds.
        """
        if not self._requested:
            await self.send_request()
        start = await self._next("http.response.start", timeout)
        body = bytearray()
        more = True
        while more:
            part = await self._next("http.response.body", timeout)
            body += part.get("body", b"")
            more = part.get("more_body", False)
        return {"status": start["status"], "headers": list(start.get("headers", [])), "body": bytes(body)}

    async def _next(self, kind: str, timeout: float) -> dict[str, Any]:
        event: dict[str, Any] = await self.receive_output(timeout)
        if event["type"] != kind:
            raise AssertionError(f"Expected type {kind!r}, but was {event['type']!r}: {event!r}")
        return event
