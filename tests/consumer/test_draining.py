"""Consumers are asked to come back to another process: at a pace, within a bound, and new ones are refused."""

import asyncio
import gc
import logging
import math
import weakref
from typing import Any

import pytest

from fast_channels.consumer import AsyncHttpConsumer, AsyncWebsocketConsumer, ClientGone
from fast_channels.consumer import draining as module
from fast_channels.consumer.draining import Drained, closing_times, drain, is_draining, lobby
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.lifecycle import Lifespan
from tests.consumer.client import ACCEPT, CONNECT, Client, closing, goodbye, text, turns, until

RESTARTING = closing(1012, "restarting, come back")

codes: list[int] = []
gone: list[str] = []
gate: asyncio.Event


class Room(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            await gate.wait()
            await self.send(text_data)
        except ClientGone as error:
            gone.append(str(error))
            raise

    async def disconnect(self, code: int) -> None:
        codes.append(code)


@pytest.fixture(autouse=True)
async def _afresh() -> None:
    global gate
    gate = asyncio.Event()
    codes.clear()
    gone.clear()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CUT_SECONDS", 0.2)
    monkeypatch.setattr(module, "LAST_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("count", "over", "chance", "times"),
    [
        (4, 0.4, 0.0, [0.0, 0.1, 0.2, 0.3]),
        (4, 0.4, 0.5, [0.05, 0.15, 0.25, 0.35]),
        (100, 5.0, 0.0, [place * 0.05 for place in range(100)]),
        (2, 60.0, 0.0, [0.0, 0.1]),  # a few do not take a minute
        (3, 0.0, 0.9, [0.0, 0.0, 0.0]),
        (0, 5.0, 0.0, []),
    ],
)
def test_when_connections_are_closed(count: int, over: float, chance: float, times: list[float]) -> None:
    assert closing_times(count, over, lambda: chance) == pytest.approx(times)


async def answering(client: Client) -> None:
    """What a server does: the close of the application is followed by the disconnect."""
    await until(lambda: client.sent[-1]["type"] == "websocket.close")
    client.say(goodbye(client.sent[-1]["code"]))


@pytest.mark.parametrize("name", ["over", "timeout"])
@pytest.mark.parametrize(
    ("seconds", "error"), [(-1, ValueError), (math.nan, ValueError), ("10", TypeError), (None, TypeError)]
)
async def test_what_is_no_time_is_refused_at_once(name: str, seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        await drain(**{name: seconds})
    assert not is_draining()
    with pytest.raises(error, match=name):  # not when the server is stopped, when it is too late
        Lifespan(**{name: seconds})


async def test_everybody_is_told_and_leaves(layer: InMemoryChannelLayer) -> None:
    clients = [Client(Room()) for _ in range(5)]
    for client in clients:
        await client.connect()
    answers = asyncio.gather(*map(answering, clients))
    assert await drain(over=0.2, timeout=5) == Drained(closed=5, cut=0, left=0)
    await answers
    for client in clients:
        await client.ended()
        assert client.sent == [ACCEPT, RESTARTING]
    assert codes == [1012] * 5
    assert not layer.groups
    assert is_draining()


async def test_nobody_there_takes_no_time(layer: InMemoryChannelLayer) -> None:
    assert await drain(over=3600, timeout=3600) == (0, 0, 0)


async def test_new_connections_are_told_to_come_back(layer: InMemoryChannelLayer) -> None:
    await drain(0, 0)
    client = Client(Room(), {"type": "websocket", "path": "/", "subprotocols": ["chat", "other"]})
    client.say(CONNECT, goodbye(1012))
    await client.ended()
    assert client.sent == [{**ACCEPT, "subprotocol": "chat"}, RESTARTING]
    assert codes == []
    assert not layer.groups
    lobby().reopen()
    assert not is_draining()
    client = Client(Room())
    await client.connect()
    await client.leave()


async def test_a_connection_that_was_on_its_way_in_is_told_too(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    client.say()
    await turns(1)  # it has not said anything yet
    draining = asyncio.create_task(drain(0, 5))
    await until(lambda: len(client.sent) == 2)
    client.say(CONNECT, goodbye(1012))
    await client.ended()
    assert client.sent == [ACCEPT, RESTARTING]
    assert codes == [1012]
    assert not layer.groups
    assert (await draining).cut == 0


async def test_new_requests_are_answered_with_503() -> None:
    class Answer(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            raise NotImplementedError

    await drain(0, 0)
    client = Client(Answer(), {"type": "http", "path": "/"})
    client.say({"type": "http.request"})
    await client.ended()
    assert client.sent[0]["status"] == 503
    assert (b"retry-after", b"1") in client.sent[0]["headers"]


async def test_a_handler_that_ends_in_time_is_not_cut(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    await client.connect()
    client.say(text("x"))
    draining = asyncio.create_task(drain(0, 30))
    await answering(client)
    gate.set()  # what it sends now, it sends to nobody
    assert await draining == (1, 0, 0)
    await client.ended()
    assert gone == ["the connection was closed already"]
    assert client.sent == [ACCEPT, RESTARTING]
    assert codes == [1012]


async def test_a_handler_that_hangs_is_cut(layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(Room())
    await client.connect()
    client.say(text("x"))
    with caplog.at_level(logging.WARNING):
        draining = asyncio.create_task(drain(0, 0.05))
        await answering(client)
        assert await draining == (1, 1, 0)
    assert caplog.messages == ["draining: 1 consumers did not end in 0.05 s, they are cancelled: Room"]
    await client.ended()  # for its server, it has ended as any other
    assert codes == [1012]
    assert not layer.groups


async def test_a_client_that_never_answers_is_cut(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    await client.connect()
    assert await drain(0, 0.05) == (1, 1, 0)
    await client.ended()
    assert codes == [1012]


async def test_a_disconnect_that_hangs_is_cut_in_the_end(layer: InMemoryChannelLayer) -> None:
    class Hanging(Room):
        async def disconnect(self, code: int) -> None:
            codes.append(code)
            await asyncio.sleep(3600)

    client = Client(Hanging())
    await client.connect()
    assert await drain(0, 0.05) == (1, 1, 0)
    await client.ended()
    assert codes == [1012]


async def test_a_handler_that_will_not_be_cancelled_is_left(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue

    client = Client(Stubborn())
    await client.connect()
    client.say(text("x"))
    await turns()
    assert await drain(0, 0.05) == (1, 1, 1)
    assert "draining: 1 consumers do not end: Stubborn" in caplog.messages
    gate.set()
    client.say(goodbye(1012))
    await client.ended()


async def test_the_cancellation_of_the_server_goes_through_that_of_the_draining(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    await client.connect()
    client.say(text("x"))
    await turns()
    (connection,) = lobby().connections
    connection.cut()
    await client.cancel()
    assert codes == [1006]


async def test_whoever_drains_again_gets_the_outcome_of_the_first_time(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    await client.connect()
    first = asyncio.create_task(drain(0.01, 5))
    second = asyncio.create_task(drain(3600, 3600))
    await turns()
    first.cancel()  # which ends nothing but this wait
    await answering(client)
    assert await second == (1, 0, 0)
    assert await drain() == (1, 0, 0)
    assert repr(lobby()) == "<Lobby: 0 connections, draining>"


class Slow(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await gate.wait()
        await self.send_response(200, b"done")

    async def disconnect(self) -> None:
        codes.append(0)


async def test_a_request_is_served_to_its_end() -> None:
    client = Client(Slow(), {"type": "http", "path": "/"})
    client.say({"type": "http.request"})
    await turns()
    draining = asyncio.create_task(drain(0, 30))
    await until(is_draining)
    gate.set()
    assert await draining == (0, 0, 0)
    await client.ended()
    assert client.sent[0]["status"] == 200


async def test_a_request_that_takes_too_long_is_cut() -> None:
    client = Client(Slow(), {"type": "http", "path": "/"})
    client.say({"type": "http.request"})
    await turns()
    assert await drain(0, 0.05) == (0, 1, 0)
    await client.ended()
    assert client.sent == []
    assert codes == [0]


def test_a_loop_is_not_kept() -> None:
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)
    loop.run_until_complete(drain(0, 0))
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


async def test_who_leaves_by_itself_is_not_closed(layer: InMemoryChannelLayer) -> None:
    clients = [Client(Room()) for _ in range(20)]
    for client in clients:
        await client.connect()
    draining = asyncio.create_task(drain(3600, 3600))  # 2 seconds, as they are few
    await asyncio.gather(*(client.leave() for client in clients))
    assert (await draining).closed <= 1
    assert len(codes) == 20


async def test_a_client_that_is_gone_is_no_error(layer: InMemoryChannelLayer) -> None:
    client = Client(Room())
    await client.connect()
    client.broken = OSError("gone")
    draining = asyncio.create_task(drain(0, 5))
    await until(lambda: not layer.groups)
    client.say(goodbye(1006))
    assert await draining == (0, 0, 0)
    assert codes == [1006]
