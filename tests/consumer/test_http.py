import asyncio
from typing import Any

import pytest

from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.exceptions import MailboxOverflow, StopConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.testing import HttpCommunicator
from tests.consumer.client import Client, other_tasks, turns, until

SCOPE = {"type": "http", "method": "GET", "path": "/"}
GONE = {"type": "http.disconnect"}


def part(body: bytes, more_body: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more_body}


def start(status: int = 200, headers: Any = ()) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def sent(body: bytes, more_body: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more_body}


class Consumer(AsyncHttpConsumer):
    """Notes its calls, and answers as `act` says."""

    def __init__(self, act: Any = None) -> None:
        super().__init__()
        self.act = act
        self.calls: list[Any] = []

    async def handle(self, body: bytes) -> None:
        self.calls.append(body)
        if self.act is None:
            await self.send_response(200, b"hi")
        else:
            await self.act(self)

    async def disconnect(self) -> None:
        self.calls.append("disconnect")


async def serve(consumer: AsyncHttpConsumer, *events: Any) -> Client:
    client = Client(consumer, SCOPE)
    client.say(*events)
    await client.ended()
    return client


async def test_the_body_is_collected_and_the_answer_ends_the_consumer() -> None:
    client = await serve(consumer := Consumer(), part(b"ab", True), part(b"cd"))
    assert client.sent == [start(), sent(b"hi")]
    assert consumer.calls == [b"abcd", "disconnect"]
    assert consumer.body == [b"ab", b"cd"]
    assert not other_tasks()


async def test_a_request_without_a_body() -> None:
    await serve(consumer := Consumer(), {"type": "http.request"})
    assert consumer.calls == [b"", "disconnect"]


async def test_a_client_that_leaves_before_its_body_is_complete() -> None:
    client = await serve(consumer := Consumer(), part(b"ab", True), GONE)
    assert client.sent == []
    assert consumer.calls == ["disconnect"]


@pytest.mark.parametrize(
    ("headers", "listed"),
    [
        (None, []),
        ([(b"a", b"b")], [(b"a", b"b")]),
        (((b"a", b"b"),), [(b"a", b"b")]),
        ({b"a": b"b"}, [(b"a", b"b")]),
        (iter([(b"a", b"b")]), [(b"a", b"b")]),
    ],
)
async def test_an_answer_in_one(headers: Any, listed: Any) -> None:
    client = await serve(Consumer(lambda consumer: consumer.send_response(404, b"no", headers=headers)), part(b""))
    assert client.sent == [start(404, listed), sent(b"no")]


async def test_an_answer_in_parts() -> None:
    async def act(consumer: Consumer) -> None:
        await consumer.send_headers(headers=[(b"a", b"b")])
        await consumer.send_body(b"1", more_body=True)
        await consumer.send_body(b"2")

    client = await serve(Consumer(act), part(b""))
    assert client.sent == [start(200, [(b"a", b"b")]), sent(b"1", True), sent(b"2")]


async def test_a_body_that_is_not_bytes_is_a_type_error() -> None:
    client = Client(consumer := Consumer(lambda consumer: consumer.send_body("text")), SCOPE)
    client.say(part(b""))
    with pytest.raises(TypeError, match="Body is not bytes, but str"):
        await client.ended()
    assert consumer.calls == [b"", "disconnect"]


async def test_a_consumer_without_handle_says_so() -> None:
    client = Client(AsyncHttpConsumer(), SCOPE)
    client.say(part(b""))
    with pytest.raises(NotImplementedError, match=r"must provide a handle\(\) method"):
        await client.ended()


async def test_an_error_in_handle_is_raised_after_disconnect() -> None:
    async def act(consumer: Consumer) -> None:
        raise ZeroDivisionError

    client = Client(consumer := Consumer(act), SCOPE)
    client.say(part(b""))
    with pytest.raises(ZeroDivisionError):
        await client.ended()
    assert consumer.calls == [b"", "disconnect"]


async def test_on_error_may_answer_instead() -> None:
    class Polite(Consumer):
        async def on_error(self, exc: Exception) -> None:
            await self.send_response(500, str(exc).encode())

    async def act(consumer: Consumer) -> None:
        raise ZeroDivisionError("oops")

    client = await serve(consumer := Polite(act), part(b""))
    assert client.sent == [start(500), sent(b"oops")]
    assert consumer.calls == [b"", "disconnect"]


async def test_stopping_in_handle() -> None:
    async def act(consumer: Consumer) -> None:
        raise StopConsumer

    await serve(consumer := Consumer(act), part(b""))
    assert consumer.calls == [b"", "disconnect"]


async def waiting(consumer: Consumer) -> None:
    await consumer.send_headers()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        consumer.calls.append("cancelled")
        raise


async def test_handle_is_left_to_finish_when_the_client_leaves() -> None:
    gate = asyncio.Event()

    async def act(consumer: Consumer) -> None:
        await consumer.send_headers()
        await gate.wait()
        await consumer.send_body(b"x")

    client = Client(consumer := Consumer(act), SCOPE)
    client.say(part(b""), GONE)
    await client.until_sent(1)
    await turns()
    gate.set()
    await client.ended()
    assert client.sent == [start(), sent(b"x")]
    assert consumer.calls == [b"", "disconnect"]


async def test_handle_is_cancelled_when_the_client_leaves_where_that_was_asked_for() -> None:
    class Impatient(Consumer):
        cancel_handler_on_disconnect = True

    client = Client(consumer := Impatient(waiting), SCOPE)
    client.say(part(b""))
    await client.until_sent(1)
    client.say(GONE)
    await client.ended()
    assert consumer.calls == [b"", "cancelled", "disconnect"]
    assert not other_tasks()


async def test_cancelled_in_handle() -> None:
    client = Client(consumer := Consumer(waiting), SCOPE)
    client.say(part(b""))
    await client.until_sent(1)
    await client.cancel()
    assert consumer.calls == [b"", "cancelled", "disconnect"]
    assert not other_tasks()


async def test_a_client_that_is_gone_ends_the_consumer_without_an_error() -> None:
    client = Client(consumer := Consumer(), SCOPE)
    client.broken = OSError("gone")
    client.say(part(b""))
    await client.ended()
    assert consumer.calls == [b"", "disconnect"]


async def test_disconnect_can_be_called_without_a_connection() -> None:
    consumer = Consumer()
    with pytest.raises(StopConsumer):
        await consumer.http_disconnect({"type": "http.disconnect"})
    assert consumer.calls == ["disconnect"]


# With a layer


class Streaming(Consumer):
    """Answers with what comes through the layer while `handle()` runs."""

    channel_layer_alias = "default"
    concurrent_events = 2

    async def handle(self, body: bytes) -> None:
        self.finished = asyncio.Event()
        await self.channel_layer.group_add("room", self.channel_name)
        await self.send_headers()
        await self.finished.wait()

    async def news(self, event: dict[str, Any]) -> None:
        await self.send_body(event["text"].encode(), more_body=event["more"])
        if not event["more"]:
            self.finished.set()


async def test_events_of_the_layer_can_be_streamed(layer: InMemoryChannelLayer) -> None:
    client = Client(consumer := Streaming(), SCOPE)
    client.say(part(b""))
    await client.until_sent(1)
    await layer.group_send("room", {"type": "news", "text": "a", "more": True})
    await client.until_sent(2)
    await layer.group_send("room", {"type": "news", "text": "b", "more": False})
    await client.ended()
    assert client.sent == [start(), sent(b"a", True), sent(b"b")]
    assert consumer.calls == ["disconnect"]
    assert not other_tasks()


async def test_the_groups_of_a_request_are_left_as_soon_as_its_client_has(layer: InMemoryChannelLayer) -> None:
    class Impatient(Streaming):
        cancel_handler_on_disconnect = True

    client = Client(consumer := Impatient(), SCOPE)
    client.say(part(b""))
    await client.until_sent(1)
    client.say(GONE)
    await client.ended()
    assert consumer.calls == ["disconnect"]
    await until(lambda: not layer.groups)


async def test_falling_behind_under_the_policy_close_is_an_error(channel_layers: ChannelLayerRegistry) -> None:
    layer = InMemoryChannelLayer(capacity=1, overflow="close")
    channel_layers.register("default", layer)
    client = Client(Streaming(), SCOPE)
    client.say(part(b""))
    await client.until_sent(1)
    for _ in range(2):
        await layer.group_send("room", {"type": "news", "text": "a", "more": True})
    with pytest.raises(MailboxOverflow):  # handle() would wait for ever
        await client.ended()
    assert not other_tasks()


async def test_falling_behind_before_the_body_is_complete_is_an_error(channel_layers: ChannelLayerRegistry) -> None:
    class Early(Consumer):
        channel_layer_alias = "default"

        async def http_request(self, message: Any) -> None:
            await self.channel_layer.group_add("room", self.channel_name)
            for _ in range(2):
                await self.channel_layer.group_send("room", {"type": "news"})

    layer = InMemoryChannelLayer(capacity=1, overflow="close")
    channel_layers.register("default", layer)
    client = Client(consumer := Early(), SCOPE)
    client.say(part(b"", True))
    with pytest.raises(MailboxOverflow):
        await client.ended()
    assert consumer.calls == ["disconnect"]


async def test_the_communicator_gets_the_answer() -> None:
    communicator = HttpCommunicator(Consumer.as_asgi(), "/x", method="POST", body=b"question")
    assert await communicator.get_response() == {"status": 200, "headers": [], "body": b"hi"}
    await communicator.wait()
