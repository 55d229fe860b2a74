"""The types that applications, layers and servers exchange: ASGI callables, events, capacities."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

__all__ = [
    "ASGI3Application",
    "ASGIApplication",
    "ASGIApplicationProtocol",
    "ASGIReceiveCallable",
    "ASGISendCallable",
    "ChannelApplication",
    "ChannelCapacityDict",
    "ChannelCapacityPattern",
    "ChannelHeaders",
    "ChannelMessage",
    "ChannelScope",
    "CompiledChannelCapacities",
    "CompiledChannelCapacity",
    "HttpDisconnectEvent",
    "HttpRequestEvent",
    "HttpResponseBodyEvent",
    "HttpResponseStartEvent",
    "MiddlewareProtocol",
    "OverflowPolicy",
    "WebSocketAcceptEvent",
    "WebSocketCloseEvent",
    "WebSocketConnectEvent",
    "WebSocketDisconnectEvent",
    "WebSocketReceiveEvent",
]

ChannelScope: TypeAlias = MutableMapping[str, Any]
"""An ASGI connection scope."""

ChannelMessage: TypeAlias = Mapping[str, Any]
"""A message of a channel layer, or an ASGI event: a mapping with a `type`."""

ChannelHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Header names (lower case) and values, as ASGI carries them."""

ChannelCapacityPattern: TypeAlias = str | re.Pattern[str]
"""A glob such as `chat.*`, or a compiled pattern that is matched from the beginning of the name."""

ChannelCapacityDict: TypeAlias = dict[ChannelCapacityPattern, int]
"""Capacities, in messages, of the channels whose names match; the first that matches wins."""

CompiledChannelCapacity: TypeAlias = tuple[re.Pattern[str], int]
"""One of them, as a layer keeps it."""

CompiledChannelCapacities: TypeAlias = list[CompiledChannelCapacity]
"""All of them, in their order."""

OverflowPolicy: TypeAlias = Literal["drop_newest", "drop_oldest", "close"]
"""What a mailbox that holds `capacity` messages does with one more."""

ASGIReceiveCallable: TypeAlias = Callable[[], Awaitable[ChannelMessage]]
"""ASGI's `receive`: the next event of the client."""

ASGISendCallable: TypeAlias = Callable[[ChannelMessage], Awaitable[None]]
"""ASGI's `send`: an event for the client."""


class WebSocketConnectEvent(TypedDict):
    """The client asks to connect."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """The application accepts."""

    type: Literal["websocket.accept"]
    subprotocol: str | None
    headers: Iterable[tuple[bytes, bytes]]


class WebSocketReceiveEvent(TypedDict):
    """A frame from the client; one of `bytes` and `text` is set."""

    type: Literal["websocket.receive"]
    bytes: bytes | None
    text: str | None


class WebSocketCloseEvent(TypedDict):
    """The application closes (before accepting: refuses)."""

    type: Literal["websocket.close"]
    code: int
    reason: str | None


class WebSocketDisconnectEvent(TypedDict):
    """The client is gone."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: str | None


class HttpRequestEvent(TypedDict):
    """A part of a request's body."""

    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HttpResponseStartEvent(TypedDict):
    """The status and the headers of a response."""

    type: Literal["http.response.start"]
    status: int
    headers: list[tuple[bytes, bytes]]


class HttpResponseBodyEvent(TypedDict):
    """A part of a response's body."""

    type: Literal["http.response.body"]
    body: bytes
    more_body: bool


class HttpDisconnectEvent(TypedDict):
    """The client is gone."""

    type: Literal["http.disconnect"]


ASGI3Application: TypeAlias = Callable[[ChannelScope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
"""An application of ASGI 3: called once for each connection, with its scope, `receive` and `send`."""

ASGIApplication: TypeAlias = ASGI3Application
"""The same."""


class ASGIApplicationProtocol(Protocol):
    """What `as_asgi()` returns: an ASGI application that says which consumer it runs."""

    consumer_class: "type[AsyncConsumer]"
    consumer_initkwargs: dict[str, Any]

    def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Awaitable[None]:
        """Serve one connection."""
        ...


class MiddlewareProtocol(Protocol):
    """An application that wraps another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Serve one connection, or hand it to the inner application."""
        ...


ChannelApplication: TypeAlias = MiddlewareProtocol | ASGIApplication
"""What middleware may be put around."""
