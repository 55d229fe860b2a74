import inspect
from typing import Any

import pytest

from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.type_defs import ASGIApplicationProtocol
from tests.consumer.client import CONNECT, Client, closing, goodbye


class Room(AsyncWebsocketConsumer):
    """Says which room it is."""

    def __init__(self, room: str, *, size: int = 5) -> None:
        super().__init__()
        self.room, self.size = room, size

    async def connect(self) -> None:
        await self.accept(subprotocol=f"{self.room}-{self.size}")


async def test_the_keyword_arguments_reach_the_constructor_of_each_consumer() -> None:
    application = Room.as_asgi(room="lobby")
    for _ in range(2):
        client = Client(application)
        await client.connect()
        assert client.sent[0]["subprotocol"] == "lobby-5"
        await client.leave()


def test_the_application_says_what_it_serves() -> None:
    application: ASGIApplicationProtocol = Room.as_asgi(room="lobby")
    assert application.consumer_class is Room
    assert application.consumer_initkwargs == {"room": "lobby"}
    assert repr(application) == "Room.as_asgi(room='lobby')"
    assert application.__doc__ == "Says which room it is."
    assert application.__name__ == "Room"  # type: ignore[attr-defined]


def test_it_is_a_coroutine_function_in_the_shape_of_an_object() -> None:
    """A function would be wrapped by routers, an object without an async call be taken for ASGI 2 by servers."""
    application = Room.as_asgi(room="lobby")
    assert (inspect.isfunction(application), inspect.isclass(application)) == (False, False)
    assert inspect.iscoroutinefunction(application.__call__)


@pytest.mark.parametrize("arguments", [{}, {"room": "lobby", "colour": "red"}])
def test_arguments_that_the_constructor_does_not_take_are_an_error_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^Room\.as_asgi\(\): "):
        Room.as_asgi(**arguments)


def test_a_consumer_without_a_constructor_takes_any() -> None:
    assert AsyncWebsocketConsumer.as_asgi(room="x").consumer_initkwargs == {"room": "x"}


async def test_every_connection_has_a_consumer_of_its_own() -> None:
    made = []

    class Counting(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            made.append(self)
            await self.close()

    application = Counting.as_asgi()
    for _ in range(2):
        client = Client(application)
        client.say(CONNECT, goodbye())
        await client.ended()
        assert client.sent == [closing()]
    assert made[0] is not made[1]


@pytest.mark.parametrize(
    ("consumer_class", "kind", "serves"),
    [
        (AsyncWebsocketConsumer, "http", "websocket"),
        (AsyncWebsocketConsumer, "lifespan", "websocket"),
        (AsyncHttpConsumer, "websocket", "http"),
        (AsyncHttpConsumer, "lifespan", "http"),
    ],
)
async def test_a_connection_of_another_protocol_is_refused(consumer_class: Any, kind: str, serves: str) -> None:
    client = Client(consumer_class.as_asgi(), {"type": kind})
    with pytest.raises(ValueError, match=f"{consumer_class.__name__} serves '{serves}' connections, not '{kind}'"):
        await client.ended()
    assert client.sent == []
