"""However a consumer ends: its groups are left, `disconnect()` runs once, its tasks are gone, errors are raised."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.consumer import finishing
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import StopConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.consumer.client import CONNECT, Client, goodbye, other_tasks, text, turns, until
from tests.consumer.layers import Foreign, Gated


class Place:
    """Where a consumer waits until it is let go."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()

    async def visit(self, name: str) -> None:
        if name == self.name:
            self.reached.set()
            await self.gate.wait()


class Consumer(AsyncWebsocketConsumer):
    channel_layer_alias: str | None = "default"
    groups = ["room"]

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()
        self.place = place or Place()
        self.disconnects: list[int] = []
        self.groups_at_disconnect: list[str] = []

    async def connect(self) -> None:
        await self.place.visit("connect")
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.place.visit("receive")
        if text_data == "fail":
            raise ZeroDivisionError("in a handler")
        if text_data == "stop":
            raise StopConsumer
        if text_data == "close":
            await self.close(4000)
            raise StopConsumer

    async def event(self, event: dict[str, Any]) -> None:
        await self.place.visit("event")
        await self.receive(event.get("text"))

    async def on_error(self, exc: Exception) -> None:
        await self.place.visit("on_error")
        await super().on_error(exc)

    async def disconnect(self, code: int) -> None:
        self.disconnects.append(code)
        self.groups_at_disconnect = list(getattr(self.channel_layer, "groups", {}))
        await self.place.visit("disconnect")


# Each way to end


@pytest.mark.parametrize(
    ("says", "code"), [(goodbye(1001), 1001), (goodbye(4999), 4999), (text("stop"), 1000), (text("close"), 4000)]
)
async def test_an_end_without_an_error(layer: InMemoryChannelLayer, says: Any, code: int) -> None:
    consumer = Consumer()
    client = Client(consumer)
    await client.connect()
    client.say(says)
    await client.ended()
    assert consumer.disconnects == [code]
    assert consumer.groups_at_disconnect == []
    assert not other_tasks()


async def test_stopping_after_the_client_has_left_gives_its_code(layer: InMemoryChannelLayer) -> None:
    consumer = Consumer(place := Place("receive"))
    client = Client(consumer)
    await client.connect()
    client.say(text("stop"), goodbye(4001))
    await place.reached.wait()
    await until(lambda: not layer.groups)
    await turns()
    place.gate.set()
    await client.ended()
    assert consumer.disconnects == [4001]


@pytest.mark.parametrize("through", ["frame", "event", "bad frame", "receive"])
async def test_an_end_with_an_error(layer: InMemoryChannelLayer, through: str) -> None:
    consumer = Consumer()
    client = Client(consumer)
    await client.connect()
    expected: type[Exception] = ZeroDivisionError
    match through:
        case "frame":
            client.say(text("fail"))
        case "event":
            await layer.group_send("room", {"type": "event", "text": "fail"})
        case "bad frame":
            client.say({"type": "no.such.handler"})
            expected = ValueError
        case "receive":
            client.say(ZeroDivisionError())
    with pytest.raises(expected):
        await client.ended()
    assert consumer.disconnects == [1011]
    assert consumer.groups_at_disconnect == []
    assert not other_tasks()


async def test_an_error_in_connect(layer: InMemoryChannelLayer) -> None:
    class Failing(Consumer):
        async def connect(self) -> None:
            raise ZeroDivisionError

    consumer = Failing()
    client = Client(consumer)
    client.say(CONNECT)
    with pytest.raises(ZeroDivisionError):
        await client.ended()
    assert consumer.disconnects == [1011]
    assert client.sent == []


async def test_an_error_in_disconnect_does_not_hide_the_one_before(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Consumer):
        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            raise KeyError("in disconnect")

    consumer = Failing()
    client = Client(consumer)
    await client.connect()
    client.say(text("fail"))
    with pytest.raises(ZeroDivisionError):
        await client.ended()
    assert consumer.disconnects == [1011]
    [record] = caplog.records
    assert "disconnect() of Failing failed" in record.message
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


@pytest.mark.parametrize("says", [goodbye(), text("stop")])
async def test_an_error_in_disconnect_alone_is_raised(layer: InMemoryChannelLayer, says: Any) -> None:
    class Failing(Consumer):
        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            raise KeyError("in disconnect")

    consumer = Failing()
    client = Client(consumer)
    await client.connect()
    client.say(says)
    with pytest.raises(KeyError):
        await client.ended()
    assert len(consumer.disconnects) == 1


async def test_a_disconnect_that_sends_to_a_client_that_is_gone_is_no_error(layer: InMemoryChannelLayer) -> None:
    class Sending(Consumer):
        async def disconnect(self, code: int) -> None:
            await self.send(text_data="farewell")

    for says in (goodbye(), text("stop")):
        client = Client(Sending())
        await client.connect()
        client.broken = OSError("gone")
        client.say(says)
        await client.ended()


async def test_stop_consumer_in_disconnect_is_no_error(layer: InMemoryChannelLayer) -> None:
    class Stopping(Consumer):
        async def disconnect(self, code: int) -> None:
            raise StopConsumer

    for says in (goodbye(), text("stop")):
        client = Client(Stopping())
        await client.connect()
        client.say(says)
        await client.ended()


async def test_groups_that_cannot_be_left_are_logged_and_hide_nothing(
    channel_layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreachable(InMemoryChannelLayer):
        async def release_channel(self, channel: str) -> None:
            raise ConnectionRefusedError("the server is gone")

    channel_layers.register("default", Unreachable())
    consumer = Consumer()
    client = Client(consumer)
    await client.connect()
    await client.leave()
    assert consumer.disconnects == [1001]
    assert [record.message for record in caplog.records] == ["Consumer could not leave its groups"]
    assert caplog.records[0].levelno == logging.WARNING


async def test_leaving_the_groups_takes_a_bounded_time(
    channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fast_channels.consumer.connection.LEAVE_SECONDS", 0.01)
    channel_layers.register("default", Gated("release_channel"))
    consumer = Consumer()
    client = Client(consumer)
    await client.connect()
    await client.leave()
    assert consumer.disconnects == [1001]
    assert "could not leave its groups" in caplog.text


# Cancellation at each await


async def in_connect(client: Client, layer: InMemoryChannelLayer) -> None:
    client.say(CONNECT)


async def in_receive(client: Client, layer: InMemoryChannelLayer) -> None:
    await client.connect()
    client.say(text("x"))


async def in_event(client: Client, layer: InMemoryChannelLayer) -> None:
    await client.connect()
    await layer.group_send("room", {"type": "event"})


async def in_on_error(client: Client, layer: InMemoryChannelLayer) -> None:
    await client.connect()
    client.say(text("fail"))


@pytest.mark.parametrize(
    ("name", "get_there"),
    [("connect", in_connect), ("receive", in_receive), ("event", in_event), ("on_error", in_on_error)],
)
async def test_cancelled_in_a_handler(layer: InMemoryChannelLayer, name: str, get_there: Callable[..., Any]) -> None:
    consumer = Consumer(place := Place(name))
    client = Client(consumer)
    await get_there(client, layer)
    await place.reached.wait()
    await client.cancel()
    assert consumer.disconnects == [1006]
    assert consumer.groups_at_disconnect == []
    assert not other_tasks()


async def test_cancelled_before_it_began(layer: InMemoryChannelLayer) -> None:
    client = Client(consumer := Consumer())
    await client.cancel()
    assert consumer.disconnects == []  # nothing of it ran


async def test_cancelled_while_it_waits(layer: InMemoryChannelLayer) -> None:
    client = Client(consumer := Consumer())
    await client.connect()
    await turns()
    await client.cancel()
    assert consumer.disconnects == [1006]
    assert not other_tasks()


@pytest.mark.parametrize(("method", "disconnects"), [("new_channel", []), ("group_add", [1006])])
async def test_cancelled_while_the_layer_is_asked(
    channel_layers: ChannelLayerRegistry, method: str, disconnects: list[int]
) -> None:
    layer = Gated(method)
    channel_layers.register("default", layer)
    client = Client(consumer := Consumer())
    client.say(CONNECT)
    await layer.reached.wait()
    await client.cancel()
    assert consumer.disconnects == disconnects
    assert not layer.groups
    assert not other_tasks()


async def test_cancelled_while_the_groups_are_left(channel_layers: ChannelLayerRegistry) -> None:
    layer = Gated("release_channel")
    channel_layers.register("default", layer)
    client = Client(consumer := Consumer())
    await client.connect()
    client.say(goodbye(4001))
    await layer.reached.wait()
    client.task.cancel()
    await turns()
    assert not client.task.done()
    layer.gate.set()
    await asyncio.wait((client.task,))
    assert client.task.cancelled()
    assert consumer.disconnects == [4001]
    assert not layer.groups
    assert not other_tasks()


async def test_cancelled_in_disconnect(layer: InMemoryChannelLayer) -> None:
    consumer = Consumer(place := Place("disconnect"))
    client = Client(consumer)
    await client.connect()
    client.say(goodbye())
    await place.reached.wait()
    await client.cancel()
    assert consumer.disconnects == [1001]
    assert not other_tasks()


async def test_cancelled_in_close(layer: InMemoryChannelLayer) -> None:
    class Closing(Consumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close()

    sending = Place("websocket.close")

    class Slow(Client):
        async def send(self, event: Any) -> None:
            await sending.visit(event["type"])
            await super().send(event)

    client = Slow(consumer := Closing())
    await client.connect()
    client.say(text("x"))
    await sending.reached.wait()
    await client.cancel()
    assert consumer.disconnects == [1006]
    assert not other_tasks()


async def test_cancelled_while_an_error_is_cleaned_up(layer: InMemoryChannelLayer) -> None:
    consumer = Consumer(place := Place("disconnect"))
    client = Client(consumer)
    await client.connect()
    client.say(text("fail"))
    await place.reached.wait()
    client.task.cancel()
    await turns()
    assert not client.task.done()
    place.gate.set()
    await asyncio.wait((client.task,))
    assert client.task.cancelled()
    assert consumer.disconnects == [1011]
    assert not other_tasks()


async def test_cancelled_again_and_again(layer: InMemoryChannelLayer) -> None:
    """Scopes of anyio do so until the task ends; `disconnect()` runs to its end all the same."""
    finished = []

    class Slow(Consumer):
        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            finished.append(code)

    consumer = Slow(place := Place("disconnect"))
    client = Client(consumer)
    await client.connect()
    client.task.cancel()
    await place.reached.wait()
    for _ in range(10):
        client.task.cancel()
        await turns(2)
    place.gate.set()
    await asyncio.wait((client.task,))
    assert client.task.cancelled()
    assert finished == [1006]
    assert not other_tasks()


async def test_a_disconnect_that_hangs_holds_a_cancelled_consumer_only_for_a_while(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finishing, "CANCELLED_SECONDS", 0.01)
    consumer = Consumer(Place("disconnect"))
    client = Client(consumer)
    await client.connect()
    await client.cancel()
    await turns()
    assert consumer.disconnects == [1006]
    assert "did not end in 0.01 s" in caplog.text
    assert not layer.groups
    assert not other_tasks()


async def test_a_receive_that_does_not_end_when_it_is_cancelled_does_not_hold_the_consumer(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fast_channels.consumer.connection.LEAVE_SECONDS", 0.01)
    gate = asyncio.Event()

    class Stubborn(Client):
        async def receive(self) -> Any:
            try:
                return await super().receive()
            except asyncio.CancelledError:
                await gate.wait()
                raise

    client = Stubborn(consumer := Consumer())
    await client.connect()
    client.say(text("stop"))
    await client.ended()
    assert consumer.disconnects == [1000]
    gate.set()
    await until(lambda: not other_tasks())


@pytest.mark.parametrize("which", [0, 1], ids=["the dispatcher", "the pump"])
async def test_a_task_that_is_cancelled_ends_the_consumer(layer: InMemoryChannelLayer, which: int) -> None:
    """As `asyncio.run` cancels every task at its end."""
    client = Client(consumer := Consumer())
    await client.connect()
    await turns()
    tasks = sorted(other_tasks() - {client.task}, key=lambda task: "pump" in repr(task.get_coro()).lower())
    assert len(tasks) == 2
    tasks[which].cancel()
    await asyncio.wait((client.task,))
    assert client.task.cancelled()
    assert consumer.disconnects == [1006]


def test_the_end_of_asyncio_run_leaves_nothing_behind() -> None:
    class Plain(Consumer):
        channel_layer_alias = None
        groups: list[str] = []

    consumer = Plain()

    async def main() -> None:
        client = Client(consumer)
        await client.connect()

    asyncio.run(main())
    assert consumer.disconnects == [1006]


async def test_on_a_layer_of_another_library_the_groups_are_left_however_it_ends(
    channel_layers: ChannelLayerRegistry,
) -> None:
    layer: Any = Foreign()
    channel_layers.register("default", layer)
    for says in (goodbye(), text("fail"), text("stop"), None):
        client = Client(consumer := Consumer())
        await client.connect()
        assert layer.inner.groups
        if says is None:
            await client.cancel()
        else:
            client.say(says)
            await asyncio.wait((client.task,))
        assert client.task.done()
        assert len(consumer.disconnects) == 1
        assert not layer.inner.groups
        await turns()
        assert not other_tasks()
        if not client.task.cancelled():
            client.task.exception()
