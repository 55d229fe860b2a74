import asyncio
import gc
from functools import partial
from typing import Any

import pytest

import fast_channels.consumer
from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import InvalidChannelLayerError, StopConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.consumer.client import ACCEPT, CONNECT, Client, closing, goodbye, sent_text, text, turns, until


class Plain(AsyncConsumer):
    async def foo_bar(self, message: Any) -> None:
        await self.send({"type": "out", "got": message})

    async def the_end(self, message: Any) -> None:
        raise StopConsumer


class Room(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            raise ZeroDivisionError("in a handler")
        await self.send(text_data)

    async def event(self, event: dict[str, Any]) -> None:
        await self.receive(event["text"])


async def test_a_plain_consumer_handles_any_message() -> None:
    client = Client(Plain.as_asgi(), {"type": "something"})
    client.say({"type": "foo.bar"}, {"type": "foo_bar"}, {"type": "the.end"})
    await client.ended()
    assert client.sent == [{"type": "out", "got": {"type": "foo.bar"}}, {"type": "out", "got": {"type": "foo_bar"}}]


def test_the_package_offers_the_consumers() -> None:
    assert {"AsyncConsumer", "AsyncHttpConsumer", "AsyncJsonWebsocketConsumer", "AsyncWebsocketConsumer"} <= set(
        fast_channels.consumer.__all__
    )


# The layer


async def test_what_a_consumer_knows_about_its_connection(layer: InMemoryChannelLayer) -> None:
    client = Client(consumer := Room())
    await client.connect()
    assert consumer.scope == {"type": "websocket", "path": "/"}
    assert consumer.channel_layer is layer
    assert consumer.channel_name.startswith("specific.")
    assert consumer.channel_name in repr(consumer)
    assert isinstance(consumer.channel_receive, partial)
    assert consumer.channel_receive.args == (consumer.channel_name,)
    await consumer.base_send(sent_text("x"))
    assert client.sent == [ACCEPT, sent_text("x")]
    await client.leave()


async def test_without_an_alias_there_is_no_layer() -> None:
    client = Client(consumer := AsyncWebsocketConsumer())
    await client.connect()
    assert getattr(consumer, "channel_layer") is None  # noqa: B009 - the type says that it is never None
    assert not hasattr(consumer, "channel_name")
    with pytest.raises(AttributeError, match="AsyncWebsocketConsumer has no channel layer"):
        _ = consumer.channel_receive
    assert "without a channel" in repr(consumer)
    await client.leave()


async def test_a_consumer_may_receive_on_its_own_channel(layer: InMemoryChannelLayer) -> None:
    class Asking(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.channel_layer.send(self.channel_name, {"type": "answer", "text": "42"})
            answer = await self.channel_receive()
            await self.send(answer["text"])

    client = Client(Asking())
    await client.connect()
    client.say(text("question"))
    await client.until_sent(2)
    assert client.texts == ["42"]
    await client.leave()


@pytest.mark.parametrize("known", [[], ["chat", "jobs"]])
async def test_an_alias_that_is_not_registered_refuses_the_connection(
    channel_layers: ChannelLayerRegistry, known: list[str]
) -> None:
    for alias in known:
        channel_layers.register(alias, InMemoryChannelLayer())
    disconnects = []

    class Lost(Room):
        channel_layer_alias = "xyz"

        async def disconnect(self, code: int) -> None:
            disconnects.append(code)

    client = Client(Lost.as_asgi())
    client.say(CONNECT)
    with pytest.raises(InvalidChannelLayerError, match=r"^Channel layer 'xyz' not registered") as caught:
        await client.ended()
    assert all(repr(alias) in str(caught.value) for alias in known)
    assert client.sent == []
    assert disconnects == []  # it was never connected


async def test_a_layer_that_is_replaced_is_used_from_the_next_connection_on(
    channel_layers: ChannelLayerRegistry, layer: InMemoryChannelLayer
) -> None:
    first, second = Room(), Room()
    clients = [Client(first), Client(second)]
    await clients[0].connect()
    another = InMemoryChannelLayer()
    channel_layers.register("default", another)
    await clients[1].connect()
    assert (first.channel_layer, second.channel_layer) == (layer, another)
    for client in clients:
        await client.leave()
    assert not another.groups


# Errors


class Forgiving(Room):
    async def on_error(self, exc: Exception) -> None:
        await self.send(f"{type(exc).__name__}")


@pytest.mark.parametrize("through", ["frame", "event", "no handler"])
async def test_on_error_may_keep_the_connection(layer: InMemoryChannelLayer, through: str) -> None:
    client = Client(Forgiving())
    await client.connect()
    match through:
        case "frame":
            client.say(text("fail"))
        case "event":
            await layer.group_send("room", {"type": "event", "text": "fail"})
        case "no handler":
            await layer.group_send("room", {"type": "nope"})
    await client.until_sent(2)
    client.say(text("still here"))
    await client.until_sent(3)
    assert client.texts == ["ValueError" if through == "no handler" else "ZeroDivisionError", "still here"]
    assert layer.groups
    await client.leave()


async def test_on_error_may_raise_something_else(layer: InMemoryChannelLayer) -> None:
    class Translating(Room):
        async def on_error(self, exc: Exception) -> None:
            raise KeyError("translated") from exc

    client = Client(Translating())
    client.say(CONNECT, text("fail"))
    with pytest.raises(KeyError, match="translated"):
        await client.ended()


async def test_on_error_may_end_the_consumer_quietly(layer: InMemoryChannelLayer) -> None:
    class Closing(Room):
        async def on_error(self, exc: Exception) -> None:
            await self.close(4000)
            raise StopConsumer

    client = Client(Closing())
    client.say(CONNECT, text("fail"))
    await client.ended()
    assert client.sent == [ACCEPT, closing(4000)]


async def test_on_error_may_find_that_the_client_is_gone(layer: InMemoryChannelLayer) -> None:
    client = Client(Forgiving())
    await client.connect()
    client.broken = OSError()
    client.say(text("fail"), goodbye())
    await client.ended()


@pytest.mark.parametrize("signal", [StopConsumer, asyncio.CancelledError])
async def test_signals_are_no_errors(layer: InMemoryChannelLayer, signal: type[BaseException]) -> None:
    class Signalling(Forgiving):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise signal

    client = Client(Signalling())
    client.say(CONNECT, text("x"))
    await asyncio.wait((client.task,))
    assert client.task.cancelled() == (signal is asyncio.CancelledError)
    assert client.sent == [ACCEPT]


async def test_an_error_in_connect_that_is_forgiven_refuses_the_connection(layer: InMemoryChannelLayer) -> None:
    class Failing(Room):
        async def connect(self) -> None:
            raise ZeroDivisionError

        async def on_error(self, exc: Exception) -> None:
            pass

    client = Client(Failing())
    client.say(CONNECT, goodbye(1006))
    await client.ended()
    assert client.sent == [closing(1011)]


async def test_an_error_in_connect_after_it_accepted_may_be_forgiven(layer: InMemoryChannelLayer) -> None:
    class Failing(Forgiving):
        async def connect(self) -> None:
            await self.accept()
            raise ZeroDivisionError

    client = Client(Failing())
    client.say(CONNECT, text("x"), goodbye())
    await client.ended()
    assert client.sent == [ACCEPT, sent_text("ZeroDivisionError"), sent_text("x")]


async def test_an_error_in_disconnect_that_is_forgiven_ends_the_consumer(layer: InMemoryChannelLayer) -> None:
    class Failing(Room):
        async def disconnect(self, code: int) -> None:
            raise ZeroDivisionError

        async def on_error(self, exc: Exception) -> None:
            pass

    client = Client(Failing())
    await client.connect()
    await client.leave()


# Memory


async def connect_and_leave(
    consumer_class: type[AsyncWebsocketConsumer], layer: InMemoryChannelLayer, end: Any
) -> None:
    client = Client(consumer_class.as_asgi())
    await client.connect()
    client.say(text("frame"))
    await layer.group_send("room", {"type": "event", "text": "event"})
    await until(lambda: len(client.texts) == 2)
    if end is None:
        client.task.cancel()
    else:
        client.say(RuntimeError("receive") if end is RuntimeError else end)
    await asyncio.wait((client.task,))
    if not client.task.cancelled():
        client.task.exception()
    client.forget()


@pytest.mark.parametrize("end", [goodbye(), text("fail"), {"type": "nope"}, RuntimeError, None])
async def test_nothing_is_left_for_the_garbage_collector(layer: InMemoryChannelLayer, end: Any) -> None:
    class Concurrent(Room):
        concurrent_events = 3

    class Impatient(Room):
        cancel_handler_on_disconnect = True

    kinds = (Room, Impatient, Concurrent)
    for kind in kinds:
        await connect_and_leave(kind, layer, end)
    await turns()
    gc.collect()
    gc.disable()
    try:
        for kind in kinds:
            await connect_and_leave(kind, layer, end)
        await turns()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_a_layer_whose_methods_take_no_options_serves_consumers(channel_layers: ChannelLayerRegistry) -> None:
    class Written(InMemoryChannelLayer):
        """As somebody derived it from the library's version 1."""

        async def send(self, channel: str, message: dict[str, Any]) -> None:  # type: ignore[override]
            await super().send(channel, {**message, "through": "send"})

        async def group_send(self, group: str, message: dict[str, Any]) -> None:  # type: ignore[override]
            await super().group_send(group, {**message, "through": "group_send"})

    class Telling(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.channel_layer.send(self.channel_name, {"type": "told"})
            await self.channel_layer.group_send("room", {"type": "told"})

        async def told(self, event: Any) -> None:
            await self.send(event["through"])

    channel_layers.register("default", Written())
    client = Client(Telling())
    await client.connect()
    client.say(text("tell"))
    await client.until_sent(3)
    assert client.texts == ["send", "group_send"]
    await client.leave()
