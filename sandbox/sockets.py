"""Counts the WebSockets that this process serves, whatever they are for."""

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["SocketCounter", "open_sockets"]

_open = 0


def open_sockets() -> int:
    """How many are open now."""
    return _open


class SocketCounter:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a WebSocket for as long as it is served."""
        global _open
        is_socket = scope["type"] == "websocket"
        _open += is_socket
        try:
            await self.app(scope, receive, send)
        finally:
            _open -= is_socket
