"""The names of types that applications import, and the shape of the events."""

import re
import typing

import pytest

from fast_channels import type_defs

PROMISED = {
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
    "HttpDisconnectEvent",
    "HttpRequestEvent",
    "HttpResponseBodyEvent",
    "HttpResponseStartEvent",
    "MiddlewareProtocol",
    "WebSocketAcceptEvent",
    "WebSocketCloseEvent",
    "WebSocketConnectEvent",
    "WebSocketDisconnectEvent",
    "WebSocketReceiveEvent",
}

EVENTS: dict[str, tuple[str, set[str]]] = {
    "WebSocketConnectEvent": ("websocket.connect", set()),
    "WebSocketAcceptEvent": ("websocket.accept", {"subprotocol", "headers"}),
    "WebSocketReceiveEvent": ("websocket.receive", {"bytes", "text"}),
    "WebSocketCloseEvent": ("websocket.close", {"code", "reason"}),
    "WebSocketDisconnectEvent": ("websocket.disconnect", {"code", "reason"}),
    "HttpRequestEvent": ("http.request", {"body", "more_body"}),
    "HttpResponseStartEvent": ("http.response.start", {"status", "headers"}),
    "HttpResponseBodyEvent": ("http.response.body", {"body", "more_body"}),
    "HttpDisconnectEvent": ("http.disconnect", set()),
}


def test_every_promised_name_is_there() -> None:
    assert set(type_defs.__all__) >= PROMISED


@pytest.mark.parametrize(("name", "event"), EVENTS.items(), ids=list(EVENTS))
def test_an_event_has_the_type_and_the_keys_of_asgi(name: str, event: tuple[str, set[str]]) -> None:
    hints = typing.get_type_hints(getattr(type_defs, name))
    kind, keys = event
    assert typing.get_args(hints.pop("type")) == (kind,)
    assert set(hints) == keys


def test_no_event_is_missing_here() -> None:
    assert {name for name in type_defs.__all__ if name.endswith("Event")} == set(EVENTS)


def test_capacities_are_given_by_globs_and_patterns() -> None:
    """Written as an application writes it: mypy checks that the types allow it."""
    capacities: type_defs.ChannelCapacityDict = {"jobs.*": 10, re.compile("chat"): 20}
    assert list(capacities.values()) == [10, 20]


def test_an_application_fits_its_type() -> None:
    async def application(
        scope: type_defs.ChannelScope, receive: type_defs.ASGIReceiveCallable, send: type_defs.ASGISendCallable
    ) -> None: ...

    served: type_defs.ASGIApplication = application
    mounted: type_defs.ChannelApplication = application
    assert served is mounted
