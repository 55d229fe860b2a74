"""Applications that wrap others: the base class, a guard over where WebSockets come from, a releaser of channels."""

from fast_channels.middleware.base import BaseMiddleware
from fast_channels.middleware.releasing import ChannelReleaser
from fast_channels.middleware.websocket import OriginValidator, WebsocketDenier

__all__ = ["BaseMiddleware", "ChannelReleaser", "OriginValidator", "WebsocketDenier"]
