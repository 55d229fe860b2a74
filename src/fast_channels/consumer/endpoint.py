"""A WebSocket of Starlette or FastAPI, in the hands of its endpoint, as what an ASGI server gives to a consumer."""

from typing import TYPE_CHECKING

from fast_channels.consumer.sending import ClientGone
from fast_channels.type_defs import ChannelMessage

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

__all__ = ["Endpoint"]


class Endpoint:
    """`receive` and `send` of a `WebSocket`, which may have been accepted before.

    Everything goes through it, so that its states are what the framework expects in the end.

    Raises:
        TypeError: that is no WebSocket.
        RuntimeError: it is closed already.
    """

    def __init__(self, websocket: "WebSocket") -> None:
        from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

        if not isinstance(websocket, WebSocket):
            raise TypeError(f"serve() takes the WebSocket of an endpoint, not {type(websocket).__name__}")
        if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
            raise RuntimeError("the WebSocket is closed already: there is nothing to serve")
        self._websocket = websocket
        self._gone = WebSocketDisconnect
        self._client_gone = False
        self._connect_is_due = websocket.client_state is WebSocketState.CONNECTED
        self._accepted = websocket.application_state is WebSocketState.CONNECTED

    async def receive(self) -> ChannelMessage:
        """The next event; the first one is `websocket.connect`, also when Starlette has taken it already."""
        if self._connect_is_due:
            self._connect_is_due = False
            return {"type": "websocket.connect"}
        return await self._websocket.receive()

    async def send(self, message: ChannelMessage) -> None:
        """Send an event; a second `websocket.accept` is left out.

        Raises:
            ClientGone: the client is gone.
        """
        if self._accepted and message["type"] == "websocket.accept":
            return
        if self._client_gone:  # Starlette would take another attempt for a mistake of the application
            raise ClientGone("the client is gone")
        try:
            await self._websocket.send(dict(message))
        except self._gone as error:
            self._client_gone = True
            raise ClientGone("the client is gone") from error
