"""Consumers as routes of Starlette and FastAPI."""

import inspect
from typing import TYPE_CHECKING, Any

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.type_defs import ChannelApplication

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import Route, Router, WebSocketRoute

__all__ = ["add_consumer", "consumer_route"]


def consumer_route(
    path: str,
    consumer: "type[AsyncConsumer] | ChannelApplication",
    /,
    *,
    name: str | None = None,
    **initkwargs: Any,
) -> "Route | WebSocketRoute":
    """A route to `consumer`, for `Starlette(routes=[…])`, `FastAPI(routes=[…])` or a `Mount`.

    Args:
        path: with parameters, if need be: `/rooms/{room}` gives `scope["path_params"]["room"]`.
        consumer: the class; or an application: what `as_asgi()` returns, alone or in middleware.
        name: of the route; the consumer's by default.
        initkwargs: for the constructor of the class.

    Raises:
        TypeError: `initkwargs` with something else than a class, or that its constructor does not take.
    """
    from starlette.routing import Route, WebSocketRoute

    application = _application(consumer, initkwargs)
    if _serves_http(application):
        return Route(path, endpoint=application, name=name)
    return WebSocketRoute(path, endpoint=application, name=name)


def add_consumer(
    app: "Starlette | Router",
    path: str,
    consumer: "type[AsyncConsumer] | ChannelApplication",
    /,
    *,
    name: str | None = None,
    **initkwargs: Any,
) -> None:
    """Add a route to `consumer` to an application or router of FastAPI or Starlette. See `consumer_route`."""
    app.routes.append(consumer_route(path, consumer, name=name, **initkwargs))


def _application(consumer: "type[AsyncConsumer] | ChannelApplication", initkwargs: dict[str, Any]) -> Any:
    if inspect.isclass(consumer) and issubclass(consumer, AsyncConsumer):
        return consumer.as_asgi(**initkwargs)
    if initkwargs:
        raise TypeError(
            f"{', '.join(initkwargs)}: only the class of a consumer can be given arguments, not {consumer!r}"
        )
    return consumer


def _serves_http(application: Any) -> bool:
    """Whether a consumer of HTTP is in `application`, which middleware may wrap. A WebSocket is the rule."""
    inner: Any = application
    while inner is not None:
        served: type[AsyncConsumer] | None = getattr(inner, "consumer_class", None)
        if served is not None:
            return issubclass(served, AsyncHttpConsumer)
        inner = getattr(inner, "inner", None) or getattr(inner, "application", None) or getattr(inner, "app", None)
    return False
