"""What a client says, and what handlers send, after the consumer has closed the connection."""

import asyncio
from typing import Any

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer, ClientGone
from fast_channels.consumer.pump import READ_AHEAD
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.consumer.client import Client, Event, text, turns, until

CAPACITY = 3


@pytest.fixture
def layer(channel_layers: ChannelLayerRegistry) -> InMemoryChannelLayer:
    """One that closes who falls behind."""
    layer = InMemoryChannelLayer(capacity=CAPACITY, overflow="close")
    channel_layers.register("default", layer)
    return layer


class StrictClient(Client):
    """Behind a server as uvicorn is: to send something after a close is a mistake of the application."""

    async def send(self, event: Event) -> None:
        if any(sent["type"] == "websocket.close" for sent in self.sent):
            raise RuntimeError(f"Unexpected ASGI message {event['type']!r}, after sending 'websocket.close'")
        await super().send(event)


class Echo(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]
    max_message_size = 100

    def __init__(self) -> None:
        super().__init__()
        self.received: list[str | None] = []
        self.gate = asyncio.Event()
        self.codes: list[int] = []

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.received.append(text_data)
        if text_data == "close":
            await self.close(4001)
        elif text_data == "wait":
            await self.gate.wait()
        else:
            await self.send(text_data)

    async def note(self, event: Any) -> None:
        """An event that fills the mailbox."""

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


async def kick(client: Client, layer: InMemoryChannelLayer) -> None:
    await layer.group_send("room", {"type": "websocket.close", "code": 4001})


async def close_itself(client: Client, layer: InMemoryChannelLayer) -> None:
    client.say(text("close"))


async def say_too_much(client: Client, layer: InMemoryChannelLayer) -> None:
    client.say(text("x" * 101))


async def close_layer(client: Client, layer: InMemoryChannelLayer) -> None:
    await layer.close()


async def overflow(client: Client, layer: InMemoryChannelLayer) -> None:
    for _ in range(CAPACITY + 1):
        await layer.group_send("room", {"type": "note"})


CLOSED = {kick: 4001, close_itself: 4001, say_too_much: 1009, close_layer: 1012, overflow: 1013}


@pytest.mark.parametrize(("close", "code"), CLOSED.items(), ids=[close.__name__ for close in CLOSED])
async def test_what_a_client_says_before_it_knows_that_it_is_closed_is_dropped(
    layer: InMemoryChannelLayer, close: Any, code: int
) -> None:
    consumer = Echo()
    client = StrictClient(consumer)
    await client.connect()
    client.say(text("wait"))
    await close(client, layer)
    client.say(*[text("more")] * 50)
    await until(lambda: client.received > READ_AHEAD)
    consumer.gate.set()
    await until(lambda: client.received == 52 + (close in (close_itself, say_too_much)))
    await turns()
    assert [event.get("code") for event in client.sent[1:]] == [code]
    assert consumer.codes == [], "it waits for the answer of the client"
    await client.leave(code)
    assert consumer.codes == [code]
    assert "more" not in consumer.received


async def test_a_handler_that_still_runs_when_the_client_is_kicked_is_told_that_it_is_gone(
    layer: InMemoryChannelLayer,
) -> None:
    gate, told = asyncio.Event(), []

    class Slow(Echo):
        concurrent_events = 2

        async def job(self, event: Any) -> None:
            await gate.wait()
            try:
                await self.send("done")
            except ClientGone as error:
                told.append(str(error))
                raise

    consumer = Slow()
    client = StrictClient(consumer)
    await client.connect()
    await layer.group_send("room", {"type": "job"})
    await kick(client, layer)
    await client.until_sent(2)
    gate.set()
    await until(lambda: bool(told))
    await asyncio.sleep(0.3)  # longer than the server has to say that a client is gone
    assert consumer.codes == []
    await client.leave(4001)
    assert told == ["the connection was closed already"]
    assert consumer.codes == [4001]
