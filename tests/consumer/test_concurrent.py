import asyncio
from typing import Any

import pytest

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import StopConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.consumer.client import CONNECT, Client, closing, goodbye, other_tasks, text, turns, until


class Busy(AsyncWebsocketConsumer):
    """Handles three events at a time; each waits until `release` names it."""

    channel_layer_alias = "default"
    groups = ["room"]
    concurrent_events = 3

    def __init__(self) -> None:
        super().__init__()
        self.running: list[int] = []
        self.done: list[Any] = []
        self.gates: dict[int, asyncio.Event] = {}

    async def job(self, event: dict[str, Any]) -> None:
        number = event["number"]
        self.running.append(number)
        gate = self.gates.setdefault(number, asyncio.Event())
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.done.append(f"cancelled {number}")
            raise
        finally:
            self.running.remove(number)
        if event.get("raises"):
            raise {"error": ZeroDivisionError, "stop": StopConsumer, "gone": OSError}[event["raises"]]
        if event.get("sends"):
            await self.send(text_data=str(number))
        self.done.append(number)

    def release(self, number: int) -> None:
        self.gates.setdefault(number, asyncio.Event()).set()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.done.append(text_data)

    async def disconnect(self, code: int) -> None:
        self.done.append(("disconnect", code))


async def busy(layer: InMemoryChannelLayer, consumer: Busy, jobs: int, **event: Any) -> Client:
    client = Client(consumer)
    await client.connect()
    for number in range(jobs):
        await layer.group_send("room", {"type": "job", "number": number, **event})
    await until(lambda: len(consumer.running) == min(jobs, 3))
    return client


async def test_several_events_are_handled_at_a_time_and_no_more(layer: InMemoryChannelLayer) -> None:
    client = await busy(layer, consumer := Busy(), 10)
    await turns()
    assert consumer.running == [0, 1, 2]
    assert [len(messages) for messages in layer.channels.values()] == [7]  # the others wait where capacity counts
    consumer.release(1)
    await until(lambda: 3 in consumer.running)
    assert consumer.running == [0, 2, 3]
    for number in range(10):
        consumer.release(number)
    await until(lambda: len(consumer.done) == 10)
    assert consumer.done[0] == 1
    await client.leave()
    assert consumer.done[10:] == [("disconnect", 1001)]
    assert not other_tasks()


async def test_frames_do_not_wait_for_events(layer: InMemoryChannelLayer) -> None:
    client = await busy(layer, consumer := Busy(), 3)
    client.say(text("frame"))
    await until(lambda: consumer.done == ["frame"])
    for number in range(3):
        consumer.release(number)
    await client.leave()


async def test_events_do_not_wait_for_frames(layer: InMemoryChannelLayer) -> None:
    gate = asyncio.Event()

    class Slow(Busy):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await gate.wait()

    client = Client(consumer := Slow())
    await client.connect()
    client.say(text("slow"))
    await until(lambda: client.received == 2)
    await layer.group_send("room", {"type": "job", "number": 0})
    consumer.release(0)
    await until(lambda: consumer.done == [0])
    gate.set()
    await client.leave()


async def test_events_wait_until_connect_has_run(layer: InMemoryChannelLayer) -> None:
    gate = asyncio.Event()

    class Slow(Busy):
        async def connect(self) -> None:
            await gate.wait()
            await self.accept()

    client = Client(consumer := Slow())
    client.say(CONNECT)
    await until(lambda: "room" in layer.groups)
    await layer.group_send("room", {"type": "job", "number": 0})
    await turns()
    assert consumer.running == []
    gate.set()
    await until(lambda: consumer.running == [0])
    consumer.release(0)
    await client.leave()


async def test_a_plain_consumer_handles_events_beside_its_first_frame(layer: InMemoryChannelLayer) -> None:
    class Worker(AsyncConsumer):
        channel_layer_alias = "default"
        concurrent_events = 2

        async def start(self, message: Any) -> None:
            self.answered = asyncio.Event()
            await self.channel_layer.send(self.channel_name, {"type": "answer"})
            await self.answered.wait()
            raise StopConsumer

        async def answer(self, message: Any) -> None:
            self.answered.set()

    client = Client(Worker(), {"type": "work"})
    client.say({"type": "start"})
    await client.ended()
    assert not other_tasks()


async def test_on_a_disconnect_the_events_that_began_are_finished_before_disconnect(
    layer: InMemoryChannelLayer,
) -> None:
    client = await busy(layer, consumer := Busy(), 5)
    client.say(goodbye())
    await until(lambda: not layer.groups)
    await turns()
    assert consumer.done == []
    for number in range(5):
        consumer.release(number)
    await client.ended()
    assert consumer.done == [0, 1, 2, ("disconnect", 1001)]
    assert not other_tasks()


async def test_on_a_disconnect_they_are_cancelled_where_that_was_asked_for(layer: InMemoryChannelLayer) -> None:
    class Impatient(Busy):
        cancel_handler_on_disconnect = True

    client = await busy(layer, consumer := Impatient(), 3)
    await client.leave()
    assert sorted(consumer.done[:-1]) == ["cancelled 0", "cancelled 1", "cancelled 2"]
    assert consumer.done[-1] == ("disconnect", 1001)
    assert not other_tasks()


@pytest.mark.parametrize(("raises", "code"), [("error", 1011), ("stop", 1000), ("gone", 1011)])
async def test_an_event_that_ends_the_consumer_cancels_the_others(
    layer: InMemoryChannelLayer, raises: str, code: int
) -> None:
    client = await busy(layer, consumer := Busy(), 3, raises=raises)
    consumer.release(1)
    if raises == "stop":
        await client.ended()
    else:
        with pytest.raises(ZeroDivisionError if raises == "error" else OSError):
            await client.ended()
    assert sorted(consumer.done[:-1]) == ["cancelled 0", "cancelled 2"]
    assert consumer.done[-1] == ("disconnect", code)
    assert not other_tasks()


async def test_on_error_may_forgive_an_event(layer: InMemoryChannelLayer) -> None:
    class Forgiving(Busy):
        async def on_error(self, exc: Exception) -> None:
            self.done.append(type(exc).__name__)

    client = await busy(layer, consumer := Forgiving(), 1, raises="error")
    consumer.release(0)
    await until(lambda: consumer.done == ["ZeroDivisionError"])
    await layer.group_send("room", {"type": "job", "number": 1})
    await until(lambda: consumer.running == [1])
    consumer.release(1)
    await until(lambda: 1 in consumer.done)
    await client.leave()


async def test_a_client_that_is_gone_is_a_disconnect_here_too(layer: InMemoryChannelLayer) -> None:
    client = await busy(layer, consumer := Busy(), 2, sends=True)
    client.broken = OSError("gone")
    consumer.release(0)
    await until(lambda: not layer.groups)
    consumer.release(1)
    await client.ended()
    assert consumer.done == [("disconnect", 1006)]
    assert not other_tasks()


async def test_a_cancelled_consumer_cancels_its_events(layer: InMemoryChannelLayer) -> None:
    client = await busy(layer, consumer := Busy(), 3)
    await client.cancel()
    assert sorted(consumer.done[:-1]) == ["cancelled 0", "cancelled 1", "cancelled 2"]
    assert consumer.done[-1] == ("disconnect", 1006)
    assert not other_tasks()


async def test_after_closing_no_more_events_begin(layer: InMemoryChannelLayer) -> None:
    class Closing(Busy):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close()

    client = await busy(layer, consumer := Closing(), 5)
    client.say(text("close"))
    await client.until_sent(2)
    for number in range(5):
        consumer.release(number)
    await client.leave(1000)
    assert consumer.done == [0, 1, 2, ("disconnect", 1000)]


async def test_falling_behind_under_the_policy_close(channel_layers: ChannelLayerRegistry) -> None:
    class Remote(InMemoryChannelLayer):
        async def release_channel(self, channel: str) -> None:
            await asyncio.sleep(0)
            await super().release_channel(channel)

    layer = Remote(capacity=2, overflow="close")
    channel_layers.register("default", layer)
    client = Client(consumer := Busy())
    await client.connect()
    await turns()
    for number in range(5):
        await layer.group_send("room", {"type": "job", "number": number})
        await turns()
    for number in range(5):
        consumer.release(number)
    await layer.group_send("room", {"type": "job", "number": 5})
    await layer.group_send("room", {"type": "job", "number": 6})
    await layer.group_send("room", {"type": "job", "number": 7})
    await client.until_sent(2)
    assert client.sent[1] == closing(1013)
    await until(lambda: not layer.groups)
    await client.leave(1013)
    assert not other_tasks()


async def test_an_event_that_ends_the_consumer_cancels_the_handler_of_a_frame(layer: InMemoryChannelLayer) -> None:
    """It may wait for that very event."""

    class Waiting(Busy):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.done.append("cancelled frame")
                raise

    client = await busy(layer, consumer := Waiting(), 1, raises="error")
    client.say(text("frame"))
    await until(lambda: client.received == 2)
    await turns()
    consumer.release(0)
    with pytest.raises(ZeroDivisionError):
        await client.ended()
    assert consumer.done == ["cancelled frame", ("disconnect", 1011)]
    assert not other_tasks()


async def test_its_state_can_be_seen(layer: InMemoryChannelLayer) -> None:
    client = await busy(layer, consumer := Busy(), 2)
    assert consumer._fc_connection is not None
    assert repr(consumer._fc_connection.events) == "<ConcurrentEvents: 2 of 3 running>"
    await client.cancel()
