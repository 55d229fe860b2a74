"""Consumers as routes of Starlette and FastAPI, and the channels that a worker serves."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fast_channels import names
from fast_channels.consumer.application import unwrapped
from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelApplication, ChannelScope

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import Route, Router, WebSocketRoute

__all__ = ["ChannelNameRouter", "add_consumer", "consumer_route"]


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


class ChannelNameRouter:
    """An ASGI application for workers: hands what came over a shared channel to the application for that channel.

    ```python
    router = ChannelNameRouter({"thumbnails": ThumbnailConsumer.as_asgi(), "mails": MailConsumer.as_asgi()})
    ```

    Args:
        application_mapping: applications by the names of channels; a consumer's class will do too.

    Raises:
        InvalidNameError: no name of a channel.
        TypeError: no application.
    """

    def __init__(self, application_mapping: "Mapping[str, type[AsyncConsumer] | ChannelApplication]") -> None:
        self.application_mapping: dict[str, ChannelApplication] = {}
        for channel, application in application_mapping.items():
            names.check_channel_name(channel)
            if not callable(application):
                raise TypeError(f"channel {channel!r} needs a consumer or an ASGI application, not {application!r}")
            self.application_mapping[channel] = _application(application, {})

    def __repr__(self) -> str:
        return f"<ChannelNameRouter: {self._known}>"

    async def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Call the application for `scope["channel"]`.

        Raises:
            ValueError: the scope is not that of a worker, or the channel has no application.
        """
        if scope.get("type") != "channel":
            raise ValueError(f"ChannelNameRouter serves workers: a scope of type 'channel', not {scope.get('type')!r}")
        channel = scope.get("channel")
        application = self.application_mapping.get(channel) if isinstance(channel, str) else None
        if application is None:
            raise ValueError(f"No application for channel {channel!r} (there are: {self._known})")
        await application(scope, receive, send)

    @property
    def _known(self) -> str:
        return ", ".join(self.application_mapping) or "none"


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
    for inner in unwrapped(application):
        served: type[AsyncConsumer] | None = getattr(inner, "consumer_class", None)
        if served is not None:
            return issubclass(served, AsyncHttpConsumer)
    return False
