"""A consumer served from the endpoint of a framework: what the framework checks and has accepted already."""

from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from fast_channels.consumer import ClientGone
from fast_channels.consumer.endpoint import Endpoint
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from tests.consumer.client import ACCEPT, CONNECT, Client, closing, goodbye, sent_text, text


class Room(AsyncWebsocketConsumer):
    def __init__(self, room: str = "lobby") -> None:
        super().__init__()
        self.room = room
        self.codes: list[int] = []

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4000)
        else:
            await self.send(f"{self.room}: {text_data}")

    async def disconnect(self, code: int) -> None:
        codes.append(code)


codes: list[int] = []


@pytest.fixture(autouse=True)
def _no_codes() -> None:
    codes.clear()


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    await Room.serve(WebSocket({**scope, "headers": []}, receive, send), room="attic")


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    websocket = WebSocket({**scope, "headers": []}, receive, send)
    await websocket.accept()
    await websocket.send_text("hello")
    await Room.serve(websocket)


async def test_a_consumer_is_served_with_arguments() -> None:
    client = Client(endpoint)
    client.say(CONNECT, text("x"), goodbye(4001))
    await client.ended()
    assert client.sent == [ACCEPT, sent_text("attic: x")]
    assert codes == [4001]


async def test_a_consumer_takes_over_a_connection_that_was_accepted() -> None:
    client = Client(accepting)
    client.say(CONNECT, text("x"), goodbye(4001))
    await client.ended()
    assert [event["type"] for event in client.sent] == ["websocket.accept", "websocket.send", "websocket.send"]
    assert client.texts == ["hello", "lobby: x"]
    assert codes == [4001]


async def test_it_may_close() -> None:
    client = Client(endpoint)
    client.say(CONNECT, text("close"), goodbye(4000))
    await client.ended()
    assert client.sent == [ACCEPT, closing(4000)]


async def test_it_may_refuse() -> None:
    class Refusing(Room):
        async def connect(self) -> None:
            await self.close()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await Refusing.serve(WebSocket({**scope, "headers": []}, receive, send))

    client = Client(application)
    client.say(CONNECT, goodbye(1006))
    await client.ended()
    assert client.sent == [closing()]


async def test_a_client_that_is_gone_is_a_disconnect() -> None:
    client = Client(endpoint)
    await client.connect()
    client.broken = OSError("gone")
    client.say(text("x"), text("y"), goodbye(1005))
    await client.ended()
    assert codes == [1005]


async def test_what_the_framework_says_of_a_client_that_is_gone_is_translated() -> None:
    client = Client(endpoint)
    receive, send = cast("Any", client.receive), cast("Any", client.send)
    websocket = WebSocket({"type": "websocket", "headers": []}, receive, send)
    adapter = Endpoint(websocket)
    client.say(CONNECT)
    assert await adapter.receive() == CONNECT
    await adapter.send(ACCEPT)
    client.broken = OSError("gone")
    with pytest.raises(ClientGone, match="the client is gone"):
        await adapter.send(sent_text("x"))
    client.task.cancel()
