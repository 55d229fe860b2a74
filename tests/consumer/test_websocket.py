from typing import Any

import pytest

from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.exceptions import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,
    InvalidNameError,
    StopConsumer,
)
from fast_channels.layers import InMemoryChannelLayer
from tests.consumer.client import ACCEPT, CONNECT, Client, closing, goodbye, sent_text, text, until


class Consumer(AsyncWebsocketConsumer):
    """Notes what its `receive` and `disconnect` were called with, and does with a frame what `act` says."""

    def __init__(self, act: Any = None) -> None:
        super().__init__()
        self.act = act
        self.calls: list[Any] = []

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.calls.append((text_data, bytes_data))
        if self.act is not None:
            await self.act(self)

    async def disconnect(self, code: int) -> None:
        self.calls.append(code)


async def serve(consumer: AsyncWebsocketConsumer, *events: Any, scope: Any = None) -> Client:
    client = Client(consumer, scope)
    client.say(*events)
    await client.ended()
    return client


# Connecting


async def test_a_connection_is_accepted_by_default() -> None:
    client = await serve(AsyncWebsocketConsumer(), CONNECT, text("x"), goodbye())
    assert client.sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]


@pytest.mark.parametrize(
    ("raised", "sent"), [(AcceptConnection, {**ACCEPT}), (DenyConnection, closing()), (DenyConnection(), closing())]
)
async def test_connect_may_accept_or_deny_by_raising(raised: Any, sent: Any) -> None:
    class Deciding(Consumer):
        async def connect(self) -> None:
            raise raised

    consumer = Deciding()
    client = await serve(consumer, CONNECT, goodbye(1006))
    assert client.sent == [sent]
    assert consumer.calls == [1006]


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        ({}, ACCEPT),
        ({"subprotocol": "a"}, {**ACCEPT, "subprotocol": "a"}),
        ({"headers": [(b"a", b"b")]}, {**ACCEPT, "headers": [(b"a", b"b")]}),
        ({"headers": ((b"a", b"b"),)}, {**ACCEPT, "headers": [(b"a", b"b")]}),
        ({"headers": iter([(b"a", b"b")])}, {**ACCEPT, "headers": [(b"a", b"b")]}),
        ({"headers": {b"a": b"b"}}, {**ACCEPT, "headers": [(b"a", b"b")]}),
    ],
)
async def test_accepting_with_a_subprotocol_and_headers(arguments: Any, accepted: Any) -> None:
    class Accepting(Consumer):
        async def connect(self) -> None:
            await self.accept(**arguments)

    client = await serve(Accepting(), CONNECT, goodbye())
    assert client.sent == [accepted]


async def test_a_consumer_that_neither_accepts_nor_closes_sends_nothing() -> None:
    class Undecided(Consumer):
        async def connect(self) -> None:
            pass

    client = await serve(Undecided(), CONNECT, goodbye())
    assert client.sent == []


# Frames


@pytest.mark.parametrize(
    ("event", "received"),
    [
        ({"text": "x"}, ("x", None)),
        ({"text": ""}, ("", None)),
        ({"bytes": b"x"}, (None, b"x")),
        ({"bytes": b""}, (None, b"")),
        ({"text": "x", "bytes": None}, ("x", None)),
        ({"text": None, "bytes": b"x"}, (None, b"x")),
        ({"text": "x", "bytes": b"y"}, ("x", None)),
    ],
)
async def test_a_frame_reaches_receive(event: Any, received: Any) -> None:
    consumer = Consumer()
    await serve(consumer, CONNECT, {"type": "websocket.receive", **event}, goodbye())
    assert consumer.calls == [received, 1001]


async def test_a_frame_without_text_and_bytes_is_an_error() -> None:
    client = Client(Consumer())
    client.say(CONNECT, {"type": "websocket.receive"})
    with pytest.raises(ValueError, match=r"A websocket.receive message needs text or bytes"):
        await client.ended()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"text_data": "x"}, [sent_text("x")]),
        ({"text_data": ""}, [sent_text("")]),
        ({"bytes_data": b"x"}, [{"type": "websocket.send", "bytes": b"x"}]),
        ({"bytes_data": b""}, [{"type": "websocket.send", "bytes": b""}]),
        ({"text_data": "x", "bytes_data": b"y"}, [sent_text("x")]),
        ({"text_data": "x", "close": True}, [sent_text("x"), closing(1000)]),
        ({"text_data": "x", "close": 4000}, [sent_text("x"), closing(4000)]),
        ({"text_data": "x", "close": False}, [sent_text("x")]),
    ],
)
async def test_sending(arguments: Any, sent: Any) -> None:
    consumer = Consumer(lambda consumer: consumer.send(**arguments))
    client = await serve(consumer, CONNECT, text("go"), goodbye())
    assert client.sent == [ACCEPT, *sent]
    assert not any(event.get("code") is True for event in client.sent)


async def test_sending_nothing_is_an_error() -> None:
    client = Client(Consumer(lambda consumer: consumer.send()))
    client.say(CONNECT, text("go"))
    with pytest.raises(ValueError, match="You must pass one of bytes_data or text_data"):
        await client.ended()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ([], closing(1000)),
        ([None], closing(1000)),
        ([True], closing(1000)),
        ([False], closing(1000)),
        ([4000], closing(4000)),
        ([4000, "bye"], closing(4000, "bye")),
        ([None, "bye"], closing(1000, "bye")),
    ],
)
async def test_closing(arguments: Any, sent: Any) -> None:
    consumer = Consumer(lambda consumer: consumer.close(*arguments))
    client = await serve(consumer, CONNECT, text("go"), goodbye(1000))
    assert client.sent == [ACCEPT, sent]
    assert consumer.calls == [("go", None), 1000]
    assert type(client.sent[1]["code"]) is int


async def test_a_disconnect_without_a_code_is_1005() -> None:
    consumer = Consumer()
    await serve(consumer, CONNECT, {"type": "websocket.disconnect"})
    assert consumer.calls == [1005]


async def test_a_handler_of_its_own_for_the_disconnect_stands_in_for_disconnect() -> None:
    class Own(Consumer):
        async def websocket_disconnect(self, message: Any) -> None:
            self.calls.append("own")

    consumer = Own()
    await serve(consumer, CONNECT, goodbye())
    assert consumer.calls == ["own"]


# Groups


class Member(Consumer):
    channel_layer_alias = "default"
    groups = ["room"]

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def test_groups_are_joined_before_connect_and_left_at_the_end(layer: InMemoryChannelLayer) -> None:
    members: list[Any] = []

    class Looking(Member):
        async def connect(self) -> None:
            members.extend(layer.groups["room"])
            await self.accept()

        async def disconnect(self, code: int) -> None:
            members.append(dict(layer.groups))

    consumer = Looking()
    client = Client(consumer)
    await client.connect()
    await client.leave()
    assert members == [consumer.channel_name, {}]


async def test_groups_may_be_set_on_the_instance(layer: InMemoryChannelLayer) -> None:
    class Dynamic(Consumer):
        channel_layer_alias = "default"

        def __init__(self) -> None:
            super().__init__()
            assert self.groups == []
            self.groups = ["a"]
            self.groups.append("b")

    client = Client(Dynamic())
    await client.connect()
    assert set(layer.groups) == {"a", "b"}
    await client.leave()


async def test_groups_may_be_a_tuple_and_missing_where_the_constructor_was_not_called(
    layer: InMemoryChannelLayer,
) -> None:
    class Forgetful(AsyncWebsocketConsumer):
        channel_layer_alias = "default"

        def __init__(self) -> None:  # super().__init__() is not called
            pass

    class Tuple(Forgetful):
        groups = ("a",)  # type: ignore[assignment]

    for consumer_class, groups in ((Forgetful, set()), (Tuple, {"a"})):
        client = Client(consumer_class())
        await client.connect()
        assert set(layer.groups) == groups
        await client.leave()


async def test_groups_without_a_layer_are_an_error_before_anything_is_accepted() -> None:
    class Layerless(Consumer):
        groups = ["room"]

    client = Client(Layerless())
    client.say(CONNECT)
    with pytest.raises(InvalidChannelLayerError, match="Layerless has groups and no channel layer"):
        await client.ended()
    assert client.sent == []


async def test_a_single_string_for_groups_is_an_error(layer: InMemoryChannelLayer) -> None:
    class Single(Consumer):
        channel_layer_alias = "default"
        groups = "room"  # type: ignore[assignment]

    client = Client(Single())
    client.say(CONNECT)
    with pytest.raises(TypeError, match=r"groups of Single must be a list of names, not a single string: \['room'\]"):
        await client.ended()


async def test_a_bad_group_name_is_an_error_and_the_groups_before_it_are_left(layer: InMemoryChannelLayer) -> None:
    class Bad(Consumer):
        channel_layer_alias = "default"
        groups = ["room", "a room"]

    client = Client(Bad())
    client.say(CONNECT)
    with pytest.raises(InvalidNameError):
        await client.ended()
    assert client.sent == []


async def test_groups_that_a_handler_joined_are_left_too(layer: InMemoryChannelLayer) -> None:
    class Joining(Member):
        async def connect(self) -> None:
            await self.channel_layer.group_add("another", self.channel_name)
            await self.accept()

    client = Client(Joining())
    await client.connect()
    assert set(layer.groups) == {"room", "another"}
    await client.leave()
    assert not layer.groups


# Messages of the layer


async def test_events_reach_their_handlers(layer: InMemoryChannelLayer) -> None:
    consumer = Member()
    client = Client(consumer)
    await client.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "group"})
    await layer.send(consumer.channel_name, {"type": "chat_message", "text": "channel"})
    await client.until_sent(3)
    assert client.texts == ["group", "channel"]
    await client.leave()


async def test_a_frame_that_comes_through_the_layer_reaches_receive(layer: InMemoryChannelLayer) -> None:
    consumer = Member()
    client = Client(consumer)
    await client.connect()
    await layer.group_send("room", {"type": "websocket.receive", "text": "x"})
    await layer.group_send("room", {"type": "websocket.receive", "bytes": b"y"})
    await until(lambda: len(consumer.calls) == 2)
    assert consumer.calls == [("x", None), (None, b"y")]
    await client.leave()


@pytest.mark.parametrize("payload", [{"text": "x"}, {"text": ""}, {"bytes": b"x"}, {"text": None, "bytes": b"x"}])
async def test_a_send_that_comes_through_the_layer_goes_straight_to_the_client(
    layer: InMemoryChannelLayer, payload: Any
) -> None:
    client = Client(Member())
    await client.connect()
    await layer.group_send("room", {"type": "websocket.send", **payload})
    await client.until_sent(2)
    assert client.sent[1] == {"type": "websocket.send", **payload}
    await client.leave()


@pytest.mark.parametrize("payload", [{}, {"text": None}, {"bytes": None}])
async def test_a_send_of_nothing_is_an_error(layer: InMemoryChannelLayer, payload: Any) -> None:
    client = Client(Member())
    await client.connect()
    await layer.group_send("room", {"type": "websocket.send", **payload})
    with pytest.raises(ValueError, match=r"A websocket.send message needs text or bytes"):
        await client.ended()


@pytest.mark.parametrize(
    ("payload", "sent"),
    [({}, closing(1000)), ({"code": 4001}, closing(4001)), ({"code": 4001, "reason": "out"}, closing(4001, "out"))],
)
async def test_a_close_that_comes_through_the_layer_closes(
    layer: InMemoryChannelLayer, payload: Any, sent: Any
) -> None:
    consumer = Member()
    client = Client(consumer)
    await client.connect()
    await layer.group_send("room", {"type": "websocket.close", **payload})
    await client.until_sent(2)
    assert client.sent[1] == sent
    assert not layer.groups
    await client.leave(4001)
    assert consumer.calls == [4001]


async def test_handlers_of_its_own_for_send_and_close_are_called_instead(layer: InMemoryChannelLayer) -> None:
    class Own(Member):
        async def websocket_send(self, message: Any) -> None:
            await self.send(text_data=f"own {message['text']}")

    client = Client(Own())
    await client.connect()
    await layer.group_send("room", {"type": "websocket.send", "text": "x"})
    await client.until_sent(2)
    assert client.texts == ["own x"]
    await client.leave()


async def test_a_disconnect_that_comes_through_the_layer_ends_the_consumer(layer: InMemoryChannelLayer) -> None:
    consumer = Member()
    client = Client(consumer)
    await client.connect()
    await layer.group_send("room", {"type": "websocket.disconnect", "code": 4000})
    await client.ended()
    assert consumer.calls == [4000]


async def test_after_closing_no_more_events_are_handled(layer: InMemoryChannelLayer) -> None:
    """The server would refuse what their handlers send."""
    consumer = Member(lambda consumer: consumer.close(4000))
    client = Client(consumer)
    await client.connect()
    client.say(text("close"))
    await client.until_sent(2)
    await layer.group_send("room", {"type": "chat.message", "text": "late"})
    await layer.send(consumer.channel_name, {"type": "chat.message", "text": "late"})
    await client.leave(4000)
    assert client.sent == [ACCEPT, closing(4000)]


async def test_each_consumer_has_a_copy_of_its_own(layer: InMemoryChannelLayer) -> None:
    class Changing(Member):
        async def chat_message(self, event: dict[str, Any]) -> None:
            event["list"].append("seen")
            await self.send(text_data=",".join(event["list"]))

    clients = [Client(Changing()) for _ in range(3)]
    for client in clients:
        await client.connect()
    await layer.group_send("room", {"type": "chat.message", "list": []})
    for client in clients:
        await client.until_sent(2)
        assert client.texts == ["seen"]
        await client.leave()


# Methods without a connection, as unit tests of handlers call them


async def test_handlers_can_be_called_without_a_connection() -> None:
    sent = []

    async def send(event: Any) -> None:
        sent.append(event)

    consumer = Consumer()
    consumer.base_send = send
    await consumer.websocket_connect({"type": "websocket.connect"})
    await consumer.send(text_data="x")
    await consumer.websocket_receive({"type": "websocket.receive", "text": "y", "bytes": None})
    await consumer.close(4000)
    with pytest.raises(StopConsumer):
        await consumer.websocket_disconnect({"type": "websocket.disconnect", "code": 4000, "reason": None})
    assert sent == [ACCEPT, sent_text("x"), closing(4000)]
    assert consumer.calls == [("y", None), 4000]


# JSON


class Json(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"got": content, **kwargs})


async def test_json_comes_and_goes() -> None:
    client = await serve(Json(), CONNECT, text('{"a": [1, 2.5, null, true]}'), text('"s"'), goodbye())
    assert client.texts == ['{"got": {"a": [1, 2.5, null, true]}}', '{"got": "s"}']


@pytest.mark.parametrize(
    ("content", "encoded"),
    [
        ({"a": [1, 2.5, None, True]}, '{"a": [1, 2.5, null, true]}'),
        ("é€😀", '"\\u00e9\\u20ac\\ud83d\\ude00"'),
        ({1: 2}, '{"1": 2}'),
        ((1, 2), "[1, 2]"),
        (float("inf"), "Infinity"),
        ("\u2028</script>", '"\\u2028</script>"'),
    ],
)
async def test_json_looks_as_it_always_did(content: Any, encoded: str) -> None:
    assert await AsyncJsonWebsocketConsumer.encode_json(content) == encoded


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (text("{"), "Expecting property name"),
        (text(""), "No text section for incoming WebSocket frame!"),
        ({"type": "websocket.receive", "bytes": b"{}"}, "No text section for incoming WebSocket frame!"),
    ],
)
async def test_a_frame_that_is_no_json_is_a_value_error_that_on_error_may_answer(frame: Any, error: str) -> None:
    class Polite(Json):
        async def on_error(self, exc: Exception) -> None:
            assert isinstance(exc, ValueError)
            await self.send_json({"error": str(exc)[: len(error)]})

    client = Client(Json())
    client.say(CONNECT, frame)
    with pytest.raises(ValueError, match=error):
        await client.ended()
    polite = await serve(Polite(), CONNECT, frame, text("1"), goodbye())
    assert polite.texts == [f'{{"error": "{error}"}}', '{"got": 1}']


async def test_json_that_closes() -> None:
    class Closing(Json):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json(content, close=content)

    for close, code in (("true", 1000), ("4000", 4000)):
        client = await serve(Closing(), CONNECT, text(close), goodbye())
        assert client.sent[1:] == [sent_text(close), closing(code)]


async def test_what_cannot_be_encoded_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        await Json.encode_json({1, 2})


async def test_the_encoding_may_be_overridden() -> None:
    class Lines(Json):
        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            return text_data.split("|")

        @classmethod
        async def encode_json(cls, content: Any) -> str:
            return "|".join(content["got"])

        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
            await super().receive(text_data, bytes_data)

    client = await serve(Lines(), CONNECT, text("a|b"), goodbye())
    assert client.texts == ["a|b"]
