"""Consumers of WebSocket connections."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.channel import release_channel
from fast_channels.consumer.codes import FAILED, NO_CODE, NORMAL, SERVICE_RESTART, TOO_BIG, TRY_AGAIN_LATER
from fast_channels.consumer.connection import GOODBYE_SECONDS, Connection
from fast_channels.consumer.pump import is_goodbye
from fast_channels.consumer.sending import ClientGone, ClientSend
from fast_channels.consumer.sizes import check_size, note_too_large, size_of
from fast_channels.exceptions import (
    AcceptConnection,
    ChannelLayerClosed,
    DenyConnection,
    InvalidChannelLayerError,
    MailboxOverflow,
    StopConsumer,
)
from fast_channels.layers.reader import ChannelReader
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelHeaders,
    ChannelMessage,
    ChannelScope,
    WebSocketConnectEvent,
    WebSocketDisconnectEvent,
    WebSocketReceiveEvent,
)

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

__all__ = ["AsyncJsonWebsocketConsumer", "AsyncWebsocketConsumer"]


_MAY_COME_BACK = {MailboxOverflow: TRY_AGAIN_LATER, ChannelLayerClosed: SERVICE_RESTART}


RESTARTING: Final = {"type": "websocket.close", "code": SERVICE_RESTART, "reason": "restarting, come back"}


class WebsocketConnection(Connection):
    """A WebSocket and its consumer."""

    scope_type = "websocket"
    goodbye_type = "websocket.disconnect"

    consumer: "AsyncWebsocketConsumer"

    __slots__ = ("accepted",)

    def __init__(self, consumer: "AsyncWebsocketConsumer", reader: ChannelReader | None) -> None:
        super().__init__(consumer, reader)
        self.accepted = False

    @property
    def groups(self) -> Sequence[str]:
        return self.consumer._fc_groups()

    async def call_disconnect(self, code: int) -> None:
        await self.consumer.disconnect(code)

    @classmethod
    async def refuse(cls, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> bool:
        """Accept, and close with 1012: a browser tells a page of no other way to say that it may come back."""
        await receive()
        for event in (_accepting(scope), dict(RESTARTING)):
            await send(event)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                while not is_goodbye(await receive()):
                    pass
        return True

    async def restart(self) -> bool:
        if self.close_code is not None or self.closed_by_client is not None:
            return False
        self.close_with(SERVICE_RESTART)
        try:
            if not self.accepted:
                self.accepted = True
                await self.consumer.base_send(_accepting(self.consumer.scope))
            await self.close_for_good(RESTARTING)
        except ClientGone:
            return False
        finally:
            await self.leave()
        return True

    async def close_for_good(self, closing: Mapping[str, Any]) -> None:
        """Close on behalf of no handler: one that sends something afterwards is told that the client is gone."""
        self.close_with(closing["code"])
        event = dict(closing)
        self.end_sending(event)
        await self.consumer.base_send(event)
        await self.leave()

    def end_sending(self, last: ChannelMessage | None = None) -> None:
        """Whoever sends anything but `last` is told that the client is gone: they could not know that it was closed."""
        sending = self.consumer.base_send
        if self.close_code is not None and isinstance(sending, ClientSend):
            sending.last = last or {}

    async def survives_without_layer(self, error: Exception) -> bool:
        """Close the connection, if the client may come back: it goes on until the client has answered."""
        code = next((code for kind, code in _MAY_COME_BACK.items() if isinstance(error, kind)), None)
        if code is not None:
            await self.consumer.close(code)
            self.end_sending()
        return code is not None

    async def survived(self, message: ChannelMessage) -> None:
        """Refuse a connection whose `connect()` failed before it accepted."""
        if message.get("type") == "websocket.connect" and not self.accepted:
            await self.consumer.close(FAILED)


class AsyncWebsocketConsumer(AsyncConsumer):
    """Serves one WebSocket. Override `connect()`, `receive()` and `disconnect()`, and add handlers for events.

    From the layer, `websocket.send` (`text` or `bytes`) goes straight to the client: a broadcast that is encoded once.
    `websocket.close` (`code`, `reason`) closes the connection, and `websocket.receive` is taken for a frame.

    A consumer that falls behind its layer under the overflow policy "close" is closed with code 1013.
    """

    groups: list[str]
    """Joined before `connect()`, left at the end. Of the class or of the instance."""

    max_message_size: int | None = 16 * 1024 * 1024
    """The largest frame, in bytes (of UTF-8, if it is text); None for any size that the server lets through. A client
    that sends a larger one is closed with code 1009; `send()` of a larger one raises `MessageTooLarge`.
    """

    _fc_kind = WebsocketConnection
    _fc_connection: WebsocketConnection | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if getattr(self, "groups", None) is None:
            self.groups = []

    # What subclasses override

    async def connect(self) -> None:
        """The client asks to connect. The default accepts; `close()` refuses, and so does `DenyConnection`."""
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A frame of the client; one of the two is given."""

    async def disconnect(self, code: int) -> None:
        """The connection has ended; called once, however it did, after the groups are left.

        `code` is the client's close code; 1006 if the connection broke or the server cancelled the consumer, 1011 after
        an exception.
        """

    # What they call

    async def accept(self, subprotocol: str | None = None, headers: ChannelHeaders | None = None) -> None:
        """Accept the connection."""
        if self._fc_connection is not None:
            self._fc_connection.accepted = True
        event = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": _header_list(headers)}
        await self.base_send(event)

    async def send(  # type: ignore[override]  # a frame takes the place of an event here
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a frame; an empty one is a frame too. With `close` (True, or a code), close the connection after it.

        Raises:
            ValueError: neither text nor bytes are given.
            MessageTooLarge: the frame is larger than `max_message_size`; nothing was sent.
            ClientGone: the client is gone. If no handler catches it, it is taken as a disconnect.
        """
        limit = self.max_message_size
        if text_data is not None:
            if limit is not None and 4 * len(text_data) > limit:
                check_size(text_data, limit)
            await self.base_send({"type": "websocket.send", "text": text_data})
        elif bytes_data is not None:
            if limit is not None and len(bytes_data) > limit:
                check_size(bytes_data, limit)
            await self.base_send({"type": "websocket.send", "bytes": bytes_data})
        else:
            raise ValueError("You must pass one of bytes_data or text_data")
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the connection, before `accept()` refuse it. The default code is 1000.

        The groups are left, and no more events of the layer are handled, nor what the client had sent before it knew.
        The consumer ends when the client has answered.
        """
        if code is None or isinstance(code, bool):
            code = NORMAL
        await self.base_send({"type": "websocket.close", "code": code, "reason": reason})
        connection = self._fc_connection
        if connection is not None:
            connection.close_with(code)
            await connection.leave()
            if not connection.accepted:
                connection.expect_goodbye()  # some test clients never tell whom they refused

    @classmethod
    async def serve(cls, websocket: "WebSocket", /, **initkwargs: Any) -> None:
        """Serve a WebSocket of Starlette or FastAPI from within its endpoint, with a consumer made with `initkwargs`.

        ```python
        @app.websocket("/ws/{room}")
        async def chat(websocket: WebSocket, room: str, user: Annotated[User, Depends(current_user)]) -> None:
            await ChatConsumer.serve(websocket, room=room, user=user)
        ```

        Parameters of path and query come as the endpoint has them, and in `scope`. A connection that the endpoint has
        accepted already is taken over as it is: `accept()` does nothing more. It is not to be used afterwards, nor by
        anybody else meanwhile.

        Raises:
            TypeError: that is no WebSocket of Starlette, or the constructor does not take `initkwargs`.
            RuntimeError: the WebSocket is closed already.
            Exception: what the consumer raises, as when a server calls it.
        """
        from fast_channels.consumer.endpoint import Endpoint

        endpoint = Endpoint(websocket)
        await cls(**initkwargs)(websocket.scope, endpoint.receive, endpoint.send)

    # The protocol

    async def websocket_connect(self, message: WebSocketConnectEvent) -> None:
        """Join the groups, then `connect()`.

        Raises:
            InvalidChannelLayerError: there are groups, and no layer.
        """
        await self._fc_join_groups()
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()

    async def websocket_receive(self, message: WebSocketReceiveEvent) -> None:
        """Hand a frame to `receive()`, unless it is too large."""
        limit = self.max_message_size
        text = message.get("text")
        if text is not None:
            if limit is not None and 4 * len(text) > limit and size_of(text) > limit:
                await self._fc_too_large(size_of(text), limit)
            else:
                await self.receive(text_data=text)
        elif "bytes" in message:
            data = message["bytes"]
            if limit is not None and data is not None and len(data) > limit:
                await self._fc_too_large(len(data), limit)
            else:
                await self.receive(bytes_data=data)
        else:
            raise ValueError("A websocket.receive message needs text or bytes")

    async def _fc_too_large(self, size: int, limit: int) -> None:
        note_too_large(self, size, limit)
        connection = self._fc_connection
        if connection is None:
            await self.close(TOO_BIG)
        elif connection.close_code is None:
            event = {"type": "websocket.close", "code": TOO_BIG, "reason": f"more than {limit} bytes"}
            await connection.close_for_good(event)

    async def websocket_disconnect(self, message: WebSocketDisconnectEvent) -> None:
        """Leave the groups, then `disconnect()`, then end."""
        code = message.get("code", NO_CODE)
        connection = self._fc_connection
        if connection is None:
            await self.disconnect(code)
        else:
            await connection.leave()
            await connection.disconnect(code)
        raise StopConsumer

    async def websocket_send(self, message: ChannelMessage) -> None:
        """Send a frame that came through the layer."""
        data = message.get("text")
        data = message.get("bytes") if data is None else data
        if data is None:
            raise ValueError("A websocket.send message needs text or bytes")
        limit = self.max_message_size
        if limit is not None and 4 * len(data) > limit:
            check_size(data, limit)
        await self.base_send(message)

    async def websocket_close(self, message: ChannelMessage) -> None:
        """Close the connection, as a message of the layer asks."""
        await self.close(message.get("code"), message.get("reason"))
        if self._fc_connection is not None:
            self._fc_connection.end_sending()

    async def _fc_join_groups(self) -> None:
        groups = self._fc_groups()
        if not groups:
            return
        name = type(self).__name__
        if isinstance(groups, str):
            raise TypeError(f"groups of {name} must be a list of names, not a single string: [{groups!r}]")
        if getattr(self, "channel_layer", None) is None:
            raise InvalidChannelLayerError(f"{name} has groups and no channel layer: set channel_layer_alias")
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
        connection = self._fc_connection
        if connection is not None and connection.left:  # the client has left meanwhile
            await release_channel(self.channel_layer, self.channel_name, groups)

    def _fc_groups(self) -> Sequence[str]:
        return getattr(self, "groups", None) or ()


class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """Serves one WebSocket whose text frames are JSON. Override `receive_json()`; send with `send_json()`."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode a frame and hand it to `receive_json()`.

        Raises:
            ValueError: the frame has no text, or no JSON in it.
        """
        if not text_data:
            raise ValueError("No text section for incoming WebSocket frame!")
        await self.receive_json(await self.decode_json(text_data), **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """A frame of the client, decoded."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Encode `content` and send it; `close` is that of `send()`.

        Raises:
            TypeError: `content` cannot be encoded.
        """
        await self.send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """What the JSON in `text_data` means. Override it together with `encode_json()`."""
        return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """`content` as JSON."""
        return json.dumps(content)


def _accepting(scope: ChannelScope) -> ChannelMessage:
    """Accepts whoever is told to come back; browsers refuse to be, if none of the subprotocols is for them."""
    offered = scope.get("subprotocols") or [None]
    return {"type": "websocket.accept", "subprotocol": offered[0], "headers": []}


def _header_list(headers: ChannelHeaders | None) -> list[tuple[bytes, bytes]]:
    if headers is None:
        return []
    return list(headers.items() if isinstance(headers, Mapping) else headers)
