"""Applications that wrap others: the base class, and a guard over where WebSockets come from."""

from fast_channels.middleware.base import BaseMiddleware
from fast_channels.middleware.websocket import OriginValidator, WebsocketDenier

__all__ = ["BaseMiddleware", "OriginValidator", "WebsocketDenier"]
