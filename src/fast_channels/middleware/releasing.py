"""Middleware for consumers of other libraries, which do not release their channels."""

from typing import Any

from fast_channels.layers.made import releasing_channels
from fast_channels.middleware.base import BaseMiddleware
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelScope

__all__ = ["ChannelReleaser"]


class ChannelReleaser(BaseMiddleware):
    """Releases the channels that were made within a connection when the connection ends, however it ends.

    For the consumers of Django Channels, which know of no `release_channel()`: without it, the channel of every
    connection stays, with its groups, until the process ends. Consumers of this library need no such thing.

    ```python
    application = ProtocolTypeRouter({"websocket": ChannelReleaser(URLRouter(routes))})
    ```
    """

    async def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Any:
        async with releasing_channels():
            return await super().__call__(scope, receive, send)
