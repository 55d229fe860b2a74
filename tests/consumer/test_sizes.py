"""How large a message may be, in both directions."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient
from websockets.asyncio.client import connect

from fast_channels.consumer import AsyncHttpConsumer, AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.consumer.sizes import check_size, size_of, too_large
from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import InMemoryChannelLayer
from tests.consumer.client import ACCEPT, Client, closing, goodbye, sent_text, text, turns, until
from tests.consumer.test_real_server import closed, errors, serving

TOO_BIG = closing(1009, "more than 10 bytes")

codes: list[int] = []


class Small(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]
    max_message_size = 10

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)

    async def disconnect(self, code: int) -> None:
        codes.append(code)


@pytest.fixture(autouse=True)
def _no_codes() -> None:
    codes.clear()


def data(content: bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": content}


def test_sizes_are_bytes() -> None:
    assert size_of("aé€") == 6
    assert size_of("\ud800") == 3  # half a character: what sends it will say so
    assert size_of(b"abc") == 3
    check_size("x" * 10, 10)
    with pytest.raises(MessageTooLarge, match="the frame is 12 bytes; the consumer's max_message_size is 10 bytes"):
        check_size("€" * 4, 10)


@pytest.mark.parametrize("frame", [text("x" * 10), text("€€€"), data(b"x" * 10)])
async def test_what_fits_passes(layer: InMemoryChannelLayer, frame: dict[str, Any]) -> None:
    client = Client(Small())
    await client.connect()
    client.say(frame)
    await client.until_sent(2)
    await client.leave()
    assert codes == [1001]


@pytest.mark.parametrize("frame", [text("x" * 11), text("€€€€"), data(b"x" * 11)])
async def test_a_frame_that_is_too_large_ends_the_connection(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture, frame: dict[str, Any]
) -> None:
    client = Client(Small())
    await client.connect()
    client.say(frame)
    await client.until_sent(2)
    await until(lambda: not layer.groups)
    assert client.sent == [ACCEPT, TOO_BIG]
    client.say(frame, text("x"), goodbye(1009))  # what was on its way when it was closed
    await client.ended()
    assert client.sent == [ACCEPT, TOO_BIG]
    assert codes == [1009]


async def test_a_flood_is_a_few_lines(layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    class Flooded(Small):
        pass

    for _ in range(5):
        client = Client(Flooded())
        await client.connect()
        client.say(text("x" * 11), goodbye(1009))
        await client.ended()
    lines = [line for line in caplog.messages if "Flooded" in line]
    assert len(lines) == 3
    assert lines[0].endswith("Flooded: a client sent 11 bytes, more than the limit of 10: refused (1 until now)")
    (count,) = (count for name, count in too_large().items() if name.endswith("Flooded"))
    assert count == 5


async def test_json_is_measured_before_it_is_decoded(layer: InMemoryChannelLayer) -> None:
    class Json(AsyncJsonWebsocketConsumer):
        max_message_size = 10

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            with pytest.raises(MessageTooLarge):
                await self.send_json(["x" * 10])
            await self.send_json(content)

    client = Client(Json())
    await client.connect()
    client.say(text("[1]"), text("[" * 11), goodbye(1009))
    await client.ended()
    assert client.sent == [ACCEPT, sent_text("[1]"), TOO_BIG]


@pytest.mark.parametrize("frame", [{"text_data": "x" * 11}, {"bytes_data": b"x" * 11}, {"text_data": "€€€€"}])
async def test_who_sends_too_much_is_told(layer: InMemoryChannelLayer, frame: dict[str, Any]) -> None:
    class Large(Small):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            with pytest.raises(MessageTooLarge) as raised:
                await self.send(**frame)
            assert raised.value.limit == 10
            await self.send("fits")

    client = Client(Large())
    await client.connect()
    client.say(text("x"))
    await client.until_sent(2)
    assert client.sent[1] == sent_text("fits")
    await client.leave()


async def test_an_event_that_goes_straight_to_the_client_is_measured(layer: InMemoryChannelLayer) -> None:
    client = Client(Small())
    await client.connect()
    await layer.group_send("room", {"type": "websocket.send", "text": "x" * 10})
    await client.until_sent(2)
    await layer.group_send("room", {"type": "websocket.send", "bytes": b"x" * 11})
    with pytest.raises(MessageTooLarge):
        await client.ended()
    assert codes == [1011]


async def test_there_may_be_no_limit(layer: InMemoryChannelLayer) -> None:
    class Boundless(Small):
        max_message_size = None  # type: ignore[assignment]

    client = Client(Boundless())
    await client.connect()
    size = AsyncWebsocketConsumer.max_message_size or 0
    client.say(text("x" * (size + 1)), data(b"x" * (size + 1)))
    await client.until_sent(3)
    await client.leave()


async def test_a_real_client_is_told(layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Small.as_asgi()) as address, connect(address, proxy=None) as client:
        for _ in range(3):
            await client.send("x" * 11)
        assert await closed(client) == (1009, "more than 10 bytes")
        await until(lambda: codes == [1009])
        assert not layer.groups
    assert not errors(caplog)


# Requests


class Upload(AsyncHttpConsumer):
    max_body_size = 10

    async def handle(self, body: bytes) -> None:
        await self.send_response(200, body)

    async def disconnect(self) -> None:
        codes.append(0)


def request(*parts: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> Client:
    client = Client(Upload(), {"type": "http", "path": "/", "headers": headers or []})
    for part in parts:
        client.say({"type": "http.request", "body": part, "more_body": part is not parts[-1]})
    return client


async def test_a_body_that_fits() -> None:
    client = request(b"x" * 5, b"y" * 5, headers=[(b"content-length", b"10")])
    await client.ended()
    assert client.sent[0]["status"] == 200
    assert client.sent[1]["body"] == b"xxxxxyyyyy"


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"x" * 11], []),
        ([b"x" * 5, b"y" * 6, b"never read"], []),
        ([b"", b"never read"], [(b"content-length", b"11")]),
    ],
)
async def test_a_body_that_is_too_large(
    parts: list[bytes], headers: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    client = request(*parts, headers=headers)
    await client.ended()
    assert [event["type"] for event in client.sent] == ["http.response.start", "http.response.body"]
    assert client.sent[0]["status"] == 413
    assert client.sent[1]["body"] == b"the body is larger than 10 bytes\n"
    assert codes == [0]
    await turns()


async def test_a_length_that_is_no_number_is_the_servers_matter() -> None:
    client = request(b"x", headers=[(b"content-length", b"many")])
    await client.ended()
    assert client.sent[0]["status"] == 200


@pytest.mark.parametrize("announced", [True, False])
async def test_a_real_client_is_told_that_its_body_is_too_large(
    announced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"

    async with serving(Upload.as_asgi()) as address, AsyncClient(trust_env=False, timeout=30) as client:
        url = address.replace("ws://", "http://")
        assert (await client.post(url, content=b"fits")).text == "fits"
        answer = await client.post(url, content=b"x" * 100 if announced else parts())
        assert (answer.status_code, answer.text) == (413, "the body is larger than 10 bytes\n")
        assert (await client.post(url, content=b"again")).text == "again"
    assert not errors(caplog)
