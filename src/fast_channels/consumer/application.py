"""A consumer class as an ASGI application."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fast_channels.type_defs import ASGIReceiveCallable, ChannelScope

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

__all__ = ["ConsumerApplication", "unwrapped"]


class ConsumerApplication:
    """What `as_asgi()` returns: makes a consumer for each connection.

    It is an object and not a function: routers (Starlette's `WebSocketRoute`) take a function for an endpoint that
    wants a `WebSocket`, and call anything else as ASGI.

    Raises:
        TypeError: the consumer's constructor does not take the keyword arguments.
    """

    def __init__(self, consumer_class: "type[AsyncConsumer]", initkwargs: Mapping[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = dict(initkwargs)
        self.__name__ = consumer_class.__name__
        self.__qualname__ = consumer_class.__qualname__
        self.__module__ = consumer_class.__module__
        self.__doc__ = consumer_class.__doc__
        _check_arguments(consumer_class, initkwargs)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.consumer_initkwargs.items())
        return f"{self.__qualname__}.as_asgi({arguments})"

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Serve one connection."""
        await self.consumer_class(**self.consumer_initkwargs)(scope, receive, send)


def unwrapped(application: Any) -> Iterator[Any]:
    """`application`, what it wraps, what that wraps, and so on: as far as middleware says what it wraps."""
    inner = application
    while inner is not None:
        yield inner
        inner = getattr(inner, "inner", None) or getattr(inner, "application", None) or getattr(inner, "app", None)


def _check_arguments(consumer_class: type, initkwargs: Mapping[str, Any]) -> None:
    try:
        inspect.signature(consumer_class).bind(**initkwargs)
    except TypeError as error:
        raise TypeError(f"{consumer_class.__name__}.as_asgi(): {error}") from None
