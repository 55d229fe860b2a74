"""Consumers of HTTP requests."""

from collections.abc import Mapping
from typing import Any, NoReturn

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.codes import NO_CODE
from fast_channels.consumer.connection import Connection
from fast_channels.consumer.sizes import note_too_large
from fast_channels.exceptions import StopConsumer
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelHeaders,
    ChannelMessage,
    ChannelScope,
    HttpDisconnectEvent,
    HttpRequestEvent,
)

__all__ = ["AsyncHttpConsumer"]


class HttpConnection(Connection):
    """An HTTP request and its consumer."""

    scope_type = "http"

    consumer: "AsyncHttpConsumer"

    __slots__ = ()

    @classmethod
    async def refuse(cls, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> bool:
        """Answer with 503."""
        elsewhere = ((b"retry-after", b"1"), (b"connection", b"close"))
        await send_plainly(send, 503, b"this process is about to end, ask again\n", *elsewhere)
        return True

    async def call_disconnect(self, code: int) -> None:
        """HTTP has no close codes."""
        await self.consumer.disconnect()

    async def survived(self, message: ChannelMessage) -> None:
        """A request whose `handle()` failed was answered by `on_error()`, or never will be."""
        raise StopConsumer


async def send_plainly(send: ASGISendCallable, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer a request before its body has come: the server reads the rest and drops it, the client gets its answer."""
    told = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class AsyncHttpConsumer(AsyncConsumer):
    """Serves one HTTP request: its body is collected, `handle()` answers it, and the consumer ends.

    Attributes:
        body: the parts of the body that have arrived.
    """

    max_body_size: int | None = 64 * 1024 * 1024
    """The largest body of a request, in bytes, as it is collected in memory; None for any size. A larger one is
    answered with 413.
    """

    _fc_kind = HttpConnection
    _fc_size = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.body: list[bytes] = []

    # What subclasses override

    async def handle(self, body: bytes) -> None:
        """Answer the request, whose whole body is given."""
        raise NotImplementedError("Subclasses of AsyncHttpConsumer must provide a handle() method.")

    async def disconnect(self) -> None:
        """The request has ended; called once, however it did."""

    # What they call

    async def send_headers(self, *, status: int = 200, headers: ChannelHeaders | None = None) -> None:
        """Begin the answer. Header names are bytes in lower case; a mapping is taken too."""
        items = headers.items() if isinstance(headers, Mapping) else headers or ()
        await self.base_send({"type": "http.response.start", "status": status, "headers": list(items)})

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a part of the answer's body; without `more_body` it is the last.

        Raises:
            TypeError: `body` is not bytes.
            ClientGone: the client is gone. If `handle()` does not catch it, the consumer ends.
        """
        if not isinstance(body, bytes):
            raise TypeError(f"Body is not bytes, but {type(body).__name__}")
        await self.base_send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send_response(self, status: int, body: bytes, *, headers: ChannelHeaders | None = None) -> None:
        """Send a whole answer."""
        await self.send_headers(status=status, headers=headers)
        await self.send_body(body)

    @classmethod
    async def serve(cls, request: Any, /, **initkwargs: Any) -> None:
        """Consumers of WebSockets are served from within an endpoint; this is no such consumer.

        Raises:
            TypeError: always. An endpoint for HTTP answers by what it returns, a consumer by itself: route to it.
        """
        raise TypeError(
            f"{cls.__name__}.serve(): only consumers of WebSockets are served from an endpoint; "
            f"route to this one with fast_channels.routing.add_consumer(app, path, {cls.__name__})"
        )

    # The protocol

    async def http_request(self, message: HttpRequestEvent) -> None:
        """Collect the body; when it is complete, `handle()` it, then `disconnect()`, then end."""
        if "body" in message:
            self.body.append(message["body"])
            self._fc_size += len(message["body"])
        limit = self.max_body_size
        if limit is not None and max(self._fc_size, self._fc_announced()) > limit:
            await self._fc_refuse(limit)
        if message.get("more_body"):
            return
        await self.handle(b"".join(self.body))
        await self._fc_end()

    async def http_disconnect(self, message: HttpDisconnectEvent) -> None:
        """Run `disconnect()`, then end."""
        await self._fc_end()

    def _fc_announced(self) -> int:
        """How large the body is, as the client says before it has sent any of it."""
        if self._fc_size:
            return 0
        lengths = [value for name, value in self.scope.get("headers", ()) if name == b"content-length"]
        return int(lengths[0]) if lengths and lengths[0].isdigit() else 0

    async def _fc_refuse(self, limit: int) -> NoReturn:
        size = max(self._fc_size, self._fc_announced())
        note_too_large(self, size, limit)
        self.body.clear()
        await send_plainly(self.base_send, 413, b"the body is larger than %d bytes\n" % limit)
        await self._fc_end()

    async def _fc_end(self) -> NoReturn:
        connection = self._fc_connection
        await (self.disconnect() if connection is None else connection.disconnect(NO_CODE))
        raise StopConsumer
