"""The base class of middleware."""

from typing import Any

from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelApplication, ChannelScope

__all__ = ["BaseMiddleware"]


class BaseMiddleware:
    """An application that wraps another one, `inner`, and may change the scope that it gets.

    Override `__call__`, and end it with the inherited one: the inner application gets a copy of the scope, so that
    what it puts there never reaches whoever called.
    """

    def __init__(self, inner: ChannelApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Any:
        """Serve one connection with the inner application, and return what it returns."""
        return await self.inner(dict(scope), receive, send)
