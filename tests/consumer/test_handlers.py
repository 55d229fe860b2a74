from typing import Any

import pytest

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.base import get_handler_name as reached_from_base
from fast_channels.consumer.handlers import get_handler_name
from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from tests.consumer.client import ACCEPT, CONNECT, Client, goodbye


class Talker(AsyncWebsocketConsumer):
    some_list = ["not", "callable"]

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=f"chat {event['type']}")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data="an override of a framework method")

    async def _secret(self, event: dict[str, Any]) -> None:
        await self.send(text_data="secret")

    async def on_error(self, exc: Exception) -> None:
        await self.send(text_data=f"{type(exc).__name__}: {exc}")


class Ours(Talker):
    """Inherits handlers."""


async def answers(consumer_class: type[AsyncConsumer], *messages: Any) -> list[str]:
    """What the consumer sends for each of `messages`."""
    client = Client(consumer_class.as_asgi())
    client.say(CONNECT, *messages, goodbye())
    await client.ended()
    assert client.sent[0] == ACCEPT
    return client.texts


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("chat.message", "chat_message"),
        ("chat.message.x_y", "chat_message_x_y"),
        ("chat", "chat"),
        ("", ""),
        ("a b", "a b"),
    ],
)
def test_the_name_of_a_handler_is_the_type_with_underscores(kind: str, name: str) -> None:
    assert get_handler_name({"type": kind}) == name
    assert reached_from_base is get_handler_name


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, "Incoming message has no 'type' attribute"),
        (None, "Incoming message has no 'type' attribute"),
        (["type"], "Incoming message has no 'type' attribute"),
        ({"type": None}, "Malformed type in message (a string is needed, not None)"),
        ({"type": 5}, "Malformed type in message (a string is needed, not 5)"),
        ({"type": b"a"}, "Malformed type in message (a string is needed, not b'a')"),
        ({"type": ["a"]}, "Malformed type in message (a string is needed, not ['a'])"),
        ({"type": "_x"}, "Malformed type in message (leading underscore): '_x'"),
        ({"type": ".x"}, "Malformed type in message (leading underscore): '.x'"),
    ],
)
async def test_a_message_without_a_proper_type_is_a_value_error_that_names_type_and_consumer(
    message: Any, error: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        get_handler_name(message)
    assert str(caught.value) == error
    if isinstance(message, dict):
        assert await answers(Talker, message) == [f"ValueError: {error} (received by Talker)"]


@pytest.mark.parametrize("consumer_class", [Talker, Ours])
async def test_a_message_goes_to_the_method_that_its_type_names(consumer_class: type[AsyncConsumer]) -> None:
    messages = [{"type": "chat.message"}, {"type": "chat_message"}]
    assert await answers(consumer_class, *messages) == ["chat chat.message", "chat chat_message"]


@pytest.mark.parametrize(
    "kind",
    [
        *("send", "close", "accept", "dispatch", "connect", "receive", "disconnect", "serve", "as.asgi", "on.error"),
        *("base.send", "channel.receive", "channel.layer", "channel.name", "scope", "groups", "concurrent.events"),
        *("some.list", "nope", "", "http.request", "_secret", "__init__", ".secret"),
    ],
)
async def test_a_message_reaches_no_method_of_the_framework_also_when_it_is_overridden(kind: str) -> None:
    [answer] = await answers(Talker, {"type": kind})
    assert answer.startswith(
        (f"ValueError: No handler for message type {kind} in Talker", "ValueError: Malformed type in message")
    )


async def test_json_consumers_hide_their_methods_too() -> None:
    class Json(AsyncJsonWebsocketConsumer, Talker):
        pass

    kinds = ["send.json", "receive.json", "encode.json", "decode.json"]
    expected = [f"ValueError: No handler for message type {kind} in Json" for kind in kinds]
    assert await answers(Json, *({"type": kind} for kind in kinds)) == expected


async def test_a_plain_consumer_may_name_handlers_like_methods_of_websocket_consumers() -> None:
    got = []

    class Plain(AsyncConsumer):
        async def receive(self, message: Any) -> None:
            got.append(message["type"])

        async def websocket_disconnect(self, message: Any) -> None:
            got.append(message["type"])

    client = Client(Plain.as_asgi())
    client.say({"type": "receive"}, goodbye())
    await client.ended()
    assert got == ["receive", "websocket.disconnect"]


async def test_a_handler_that_is_patched_onto_the_class_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late_message(self: Talker, event: Any) -> None:
        await self.send(text_data="late")

    async def replaced(self: Talker, event: Any) -> None:
        await self.send(text_data="replaced")

    monkeypatch.setattr(Talker, "late_message", late_message, raising=False)
    monkeypatch.setattr(Talker, "chat_message", replaced)
    assert await answers(Talker, {"type": "late.message"}, {"type": "chat.message"}) == ["late", "replaced"]
    assert await answers(Ours, {"type": "late.message"}) == ["late"]


async def test_a_handler_that_is_set_on_the_instance_is_found() -> None:
    class Late(Talker):
        async def connect(self) -> None:
            await self.accept()
            self.late_message = self.chat_message

    assert await answers(Late, {"type": "late.message"}) == ["chat late.message"]


async def test_a_handler_may_come_from_a_mixin_that_knows_no_framework() -> None:
    class Mixin:
        async def mixed_in(self, event: Any) -> None:
            await self.send(text_data="mixed in")  # type: ignore[attr-defined]

    class Mixed(Mixin, Talker):
        pass

    assert await answers(Mixed, {"type": "mixed.in"}) == ["mixed in"]


async def test_dispatch_may_be_overridden() -> None:
    class Logging(Talker):
        async def dispatch(self, message: Any) -> None:
            seen.append(message["type"])
            await super().dispatch(message)

    seen: list[str] = []
    assert await answers(Logging, {"type": "chat.message"}) == ["chat chat.message"]
    assert seen == ["websocket.connect", "chat.message", "websocket.disconnect"]
