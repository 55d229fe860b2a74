import asyncio
from typing import Any

import pytest

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.connection import GOODBYE_SECONDS, TURNS_BETWEEN_YIELDS
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.reader import EMPTY
from tests.consumer.client import CONNECT, Client, closing, goodbye, other_tasks, text, turns, until
from tests.consumer.layers import Foreign, Gated


class Room(AsyncWebsocketConsumer):
    """Notes what it handles, and waits in the handler of the frame or event `slow` until it is let go."""

    channel_layer_alias: str | None = "default"
    groups = ["room"]

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.slow = asyncio.Event()
        self.gate = asyncio.Event()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.calls.append(text_data)
        if text_data == "slow":
            await self._wait()

    async def event(self, event: dict[str, Any]) -> None:
        self.calls.append(event["number"])
        if event["number"] == "slow":
            await self._wait()

    async def _wait(self) -> None:
        self.slow.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.calls.append("cancelled")
            raise

    async def disconnect(self, code: int) -> None:
        self.calls.append(("disconnect", code))


class Plain(Room):
    channel_layer_alias = None
    groups: list[str] = []


def event(number: Any) -> dict[str, Any]:
    return {"type": "event", "number": number}


# Order and turns


async def test_frames_are_handled_in_order() -> None:
    consumer = Plain()
    client = Client(consumer)
    client.say(CONNECT, *(text(str(number)) for number in range(100)), goodbye())
    await client.ended()
    assert consumer.calls == [*map(str, range(100)), ("disconnect", 1001)]


async def test_events_are_handled_in_order(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    for number in range(100):
        await layer.group_send("room", event(number))
    await until(lambda: len(consumer.calls) == 100)
    assert consumer.calls == list(range(100))
    await client.leave()


async def test_frames_and_events_take_turns(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    client.say(text("slow"), *(text(str(number)) for number in range(10)))
    await consumer.slow.wait()
    for number in range(10):
        await layer.group_send("room", event(number))
    await turns()
    consumer.gate.set()
    await until(lambda: len(consumer.calls) == 21)
    assert consumer.calls[1:] == [call for number in range(10) for call in (number, str(number))]
    await client.leave()


async def test_a_receive_that_never_waits_starves_nobody() -> None:
    consumer = Plain()
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return CONNECT if received == 1 else text("x")

    async def send(event: Any) -> None:
        pass

    task = asyncio.ensure_future(consumer({"type": "websocket"}, receive, send))
    for _ in range(100):
        before = received
        await asyncio.sleep(0)
        assert received - before <= 16 + 1
    assert received > 100
    task.cancel()
    await asyncio.wait((task,))


async def test_events_that_never_stop_starve_nobody(channel_layers: ChannelLayerRegistry) -> None:
    class Endless:
        """A reader that always has one more."""

        taken = 0

        def take(self) -> Any:
            self.taken += 1
            return event(self.taken)

        def close(self) -> None:
            pass

    class Flooding(InMemoryChannelLayer):
        def reader(self, channel: str) -> Any:
            return endless

    endless = Endless()
    channel_layers.register("default", Flooding())
    client = Client(Room())
    client.say(CONNECT)
    for _ in range(10):
        before = endless.taken
        await asyncio.sleep(0)
        assert endless.taken - before <= TURNS_BETWEEN_YIELDS
    await client.leave()
    assert endless.taken > TURNS_BETWEEN_YIELDS


async def test_no_event_is_handled_before_connect_has_run(layer: InMemoryChannelLayer) -> None:
    class Slow(Room):
        async def connect(self) -> None:
            await self._wait()
            self.calls.append("connected")
            await self.accept()

    consumer = Slow()
    client = Client(consumer)
    client.say(CONNECT)
    await consumer.slow.wait()
    await layer.group_send("room", event(1))
    await turns()
    assert consumer.calls == []
    consumer.gate.set()
    await until(lambda: len(consumer.calls) == 2)
    assert consumer.calls == ["connected", 1]
    await client.leave()


async def test_an_idle_consumer_has_three_tasks_and_no_timer(layer: InMemoryChannelLayer) -> None:
    """The server's, the dispatcher and the pump."""
    client = Client(Room())
    await client.connect()
    assert len(other_tasks()) == 3
    await client.leave()
    assert not other_tasks()


async def test_what_a_frame_wakes_leaves_nothing_behind_in_the_channel(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    for number in range(5):
        client.say(text(str(number)))
        await until(lambda: len(consumer.calls) == number + 1)  # noqa: B023 - awaited within the turn
        await turns()
    assert "1 waiting" in repr(layer.reader(consumer.channel_name))
    await client.leave()


# A disconnect while a handler runs


async def test_a_disconnect_is_seen_while_a_handler_runs(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    client.say(text("slow"))
    await consumer.slow.wait()
    await layer.group_send("room", event(1))
    client.say(goodbye())
    await until(lambda: not layer.groups)
    await layer.group_send("room", event(2))
    await layer.send(consumer.channel_name, event(3))
    consumer.gate.set()
    await client.ended()
    assert consumer.calls == ["slow", ("disconnect", 1001)]  # and no event any more


async def test_frames_before_the_disconnect_are_handled(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    client.say(text("slow"), text("a"), text("b"), goodbye())
    await consumer.slow.wait()
    await until(lambda: not layer.groups)
    consumer.gate.set()
    await client.ended()
    assert consumer.calls == ["slow", "a", "b", ("disconnect", 1001)]


async def test_a_handler_holds_the_client_back_after_sixteen_frames() -> None:
    consumer = Plain()
    client = Client(consumer)
    client.say(CONNECT, text("slow"), *(text(str(number)) for number in range(100)))
    await consumer.slow.wait()
    await turns()
    assert client.received == 2 + 16
    client.say(goodbye())
    consumer.gate.set()
    await client.ended()
    assert consumer.calls == ["slow", *map(str, range(100)), ("disconnect", 1001)]


async def test_disconnect_is_called_after_the_groups_are_left(channel_layers: ChannelLayerRegistry) -> None:
    layer = Gated("release_channel")
    channel_layers.register("default", layer)
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    client.say(text("a"), goodbye())
    await layer.reached.wait()
    await turns()
    assert consumer.calls == ["a"]
    layer.gate.set()
    await client.ended()
    assert consumer.calls == ["a", ("disconnect", 1001)]
    assert not layer.groups


async def test_a_client_that_leaves_while_groups_are_joined_is_in_none_at_the_end(
    channel_layers: ChannelLayerRegistry,
) -> None:
    class Between(Gated):
        """Also lets channels join that were released, as layers of other libraries do."""

        async def group_add(self, group: str, channel: str) -> None:
            await self._pass("group_add")
            self._local.join(group, self._local.open(channel))

    layer = Between("group_add")
    channel_layers.register("default", layer)
    client = Client(Room())
    client.say(CONNECT, goodbye())
    await layer.reached.wait()
    await turns()
    layer.gate.set()
    await client.ended()
    assert not layer.groups


# Opt in: cancel the handler


async def test_a_handler_is_left_to_finish_by_default() -> None:
    consumer = Plain()
    client = Client(consumer)
    client.say(CONNECT, text("slow"), goodbye())
    await consumer.slow.wait()
    await turns()
    assert consumer.calls == ["slow"]
    consumer.gate.set()
    await client.ended()
    assert consumer.calls == ["slow", ("disconnect", 1001)]


@pytest.mark.parametrize("through", ["frame", "event"])
async def test_a_handler_is_cancelled_on_disconnect_where_that_was_asked_for(
    layer: InMemoryChannelLayer, through: str
) -> None:
    class Impatient(Room):
        cancel_handler_on_disconnect = True

    consumer = Impatient()
    client = Client(consumer)
    await client.connect()
    if through == "frame":
        client.say(text("slow"), text("after it"))
    else:
        await layer.group_send("room", event("slow"))
    await consumer.slow.wait()
    client.say(goodbye())
    await client.ended()
    after = ["after it"] if through == "frame" else []
    assert consumer.calls == ["slow", "cancelled", *after, ("disconnect", 1001)]
    assert client.task.cancelling() == 0


async def test_a_handler_that_begins_after_the_disconnect_is_cancelled_where_it_waits() -> None:
    class Impatient(Plain):
        cancel_handler_on_disconnect = True

        async def disconnect(self, code: int) -> None:
            await turns()  # nobody cancels this one
            await super().disconnect(code)

    client = Client(consumer := Impatient())
    client.say(CONNECT, text("slow"), text("short"), text("slow"), goodbye())  # all there before a handler runs
    await client.ended()
    assert consumer.calls == ["slow", "cancelled", "short", "slow", "cancelled", ("disconnect", 1001)]


async def test_a_server_that_cancels_an_impatient_consumer_is_obeyed() -> None:
    class Impatient(Plain):
        cancel_handler_on_disconnect = True

    consumer = Impatient()
    client = Client(consumer)
    client.say(CONNECT, text("slow"))
    await consumer.slow.wait()
    client.task.cancel()
    client.say(goodbye(1000))
    await asyncio.wait((client.task,))
    assert client.task.cancelled()
    assert consumer.calls[:2] == ["slow", "cancelled"]
    assert consumer.calls[2][0] == "disconnect"
    assert not other_tasks()


# What fails outside of handlers


async def test_a_consumer_that_falls_behind_under_the_policy_close_is_told_to_try_again_later(
    channel_layers: ChannelLayerRegistry,
) -> None:
    layer = InMemoryChannelLayer(capacity=2, overflow="close")
    channel_layers.register("default", layer)
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    client.say(text("slow"))
    await consumer.slow.wait()
    for number in range(3):
        await layer.group_send("room", event(number))
    consumer.gate.set()
    await client.until_sent(2)
    assert client.sent[1] == closing(1013)
    assert not layer.groups
    await client.leave(1013)
    assert consumer.calls == ["slow", ("disconnect", 1013)]


async def test_a_layer_that_is_closed_asks_its_clients_to_come_again(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    await turns()
    await layer.close()
    await client.until_sent(2)
    assert client.sent[1] == closing(1012)
    await client.leave(1012)


async def test_other_failures_of_the_layer_end_the_consumer(channel_layers: ChannelLayerRegistry) -> None:
    class Failing(Foreign):
        def __init__(self) -> None:
            super().__init__()
            self.receive = self.fail

        async def fail(self, channel: str) -> Any:
            raise ConnectionResetError("the server is gone")

    layer: Any = Failing()
    channel_layers.register("default", layer)
    consumer = Room()
    client = Client(consumer)
    client.say(CONNECT)
    with pytest.raises(ConnectionResetError, match="the server is gone"):
        await client.ended()
    assert consumer.calls == [("disconnect", 1011)]
    assert not layer.inner.groups


async def test_what_receive_raises_ends_the_consumer_after_the_frames_before_it(layer: InMemoryChannelLayer) -> None:
    consumer = Room()
    client = Client(consumer)
    client.say(CONNECT, text("a"), RuntimeError("the server has a bug"))
    with pytest.raises(RuntimeError, match="the server has a bug"):
        await client.ended()
    assert consumer.calls == ["a", ("disconnect", 1011)]


async def test_a_layer_of_another_library_serves_a_consumer(channel_layers: ChannelLayerRegistry) -> None:
    layer: Any = Foreign()
    channel_layers.register("default", layer)
    consumer = Room()
    client = Client(consumer)
    await client.connect()
    for number in range(3):
        await layer.group_send("room", event(number))
        client.say(text(str(number)))
    await until(lambda: len(consumer.calls) == 6)
    assert [call for call in consumer.calls if isinstance(call, int)] == [0, 1, 2]
    await client.leave()
    assert not layer.inner.groups
    assert not other_tasks()


# A client that is gone without a word


@pytest.mark.parametrize("said", [None, 1001])
async def test_a_send_that_fails_because_the_client_is_gone_is_a_disconnect(
    layer: InMemoryChannelLayer, said: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Sending(Room):
        async def event(self, event: dict[str, Any]) -> None:
            await self.send(text_data="x")
            self.calls.append("sent")

    consumer = Sending()
    client = Client(consumer)
    await client.connect()
    client.broken = OSError("gone")
    await layer.group_send("room", event(1))
    await until(lambda: not layer.groups)
    assert consumer.calls == []
    if said is not None:
        client.say(goodbye(said))
    await client.ended()
    assert consumer.calls == [("disconnect", said or 1006)]
    assert not caplog.records


async def test_the_code_of_the_client_is_waited_for_while_the_groups_are_left(
    channel_layers: ChannelLayerRegistry,
) -> None:
    class Slower(Gated):
        async def release_channel(self, channel: str) -> None:
            if not self.reached.is_set():  # the first to leave is kept waiting
                await self._pass("release_channel")
            await super(Gated, self).release_channel(channel)

    class Sending(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.slow.wait()
            await self.send(text_data)

    layer = Slower("release_channel")
    channel_layers.register("default", layer)
    client = Client(consumer := Sending())
    await client.connect()
    client.say(text("a"), goodbye(4001))
    await layer.reached.wait()
    client.broken = OSError("gone")
    consumer.slow.set()
    await asyncio.wait((client.task,), timeout=2 * GOODBYE_SECONDS)
    assert consumer.calls == []
    layer.gate.set()
    await client.ended()
    assert consumer.calls == [("disconnect", 4001)]


async def test_frames_of_a_client_that_is_gone_are_handled_still(layer: InMemoryChannelLayer) -> None:
    class Echo(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await super().receive(text_data)
            await self.send(text_data="x")

    consumer = Echo()
    client = Client(consumer)
    await client.connect()
    client.broken = OSError("gone")
    client.say(text("a"), text("b"))
    await client.ended()
    assert consumer.calls == ["a", "b", ("disconnect", 1006)]


async def test_a_handler_may_catch_that_the_client_is_gone() -> None:
    class Catching(Plain):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            try:
                await self.base_send({"type": "websocket.send", "text": "x"})
            except OSError:
                self.calls.append("caught")

    consumer = Catching()
    client = Client(consumer)
    await client.connect()
    client.broken = BrokenPipeError()
    client.say(text("a"), goodbye())
    await client.ended()
    assert consumer.calls == ["caught", ("disconnect", 1001)]


async def test_an_os_error_of_a_handler_itself_is_an_error() -> None:
    class Failing(Plain):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise ConnectionRefusedError("the database")

    consumer = Failing()
    client = Client(consumer)
    client.say(CONNECT, text("a"))
    with pytest.raises(ConnectionRefusedError):
        await client.ended()
    assert consumer.calls == [("disconnect", 1011)]


async def test_a_plain_consumer_ends_when_its_client_is_gone() -> None:
    class Sender(AsyncConsumer):
        async def go(self, message: Any) -> None:
            await self.send({"type": "out"})

    client = Client(Sender(), {"type": "something"})
    client.broken = OSError()
    client.say({"type": "go"})
    await client.ended()


async def test_nobody_waits_for_events_of_a_consumer_that_has_none() -> None:
    client = Client(consumer := Plain())
    await client.connect()
    assert consumer._fc_connection is not None
    assert consumer._fc_connection.reader.take() is EMPTY
    assert "Plain" in repr(consumer._fc_connection)
    await client.leave()
    assert consumer._fc_connection is None


async def test_a_refused_connection_ends_also_when_the_server_never_tells_of_its_end(
    layer: InMemoryChannelLayer,
) -> None:
    class Refusing(Room):
        async def connect(self) -> None:
            await self.close(4003)

    client = Client(consumer := Refusing())
    client.say(CONNECT)
    await client.ended()
    assert client.sent == [closing(4003)]
    assert consumer.calls == [("disconnect", 1006)]


async def test_a_connection_that_was_accepted_and_closed_waits_for_its_client(layer: InMemoryChannelLayer) -> None:
    class Closing(Room):
        async def connect(self) -> None:
            await self.accept()
            await self.close(4003)

    client = Client(consumer := Closing())
    client.say(CONNECT)
    await client.until_sent(2)
    await asyncio.wait((client.task,), timeout=2 * GOODBYE_SECONDS)
    assert not client.task.done()
    await client.leave(4003)
    assert consumer.calls == [("disconnect", 4003)]
