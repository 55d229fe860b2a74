"""How an application begins and ends: with its server, with signals, alone and within its own lifespan."""

import asyncio
import os
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from httpx import AsyncClient
from redis import Redis
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.lifecycle import Lifespan, drain, is_draining, lifespan, ready
from fast_channels.routing import consumer_route
from fast_channels.testing.server import ServerProcess
from tests.consumer.client import Client, goodbye
from tests.support.uvicorns import RunningUvicorn
from tests.support.waiting import PATIENCE, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the newest Starlette would rather have another client than older ones know
    from starlette.testclient import TestClient

APPLICATION = "tests.support.draining:app"


class Closing(InMemoryChannelLayer):
    """Remembers that it was closed."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1
        await super().close()


@pytest.fixture
def layer(channel_layers: ChannelLayerRegistry) -> Closing:
    layer = Closing()
    channel_layers.register("default", layer)
    return layer


class Room(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data)


# In a framework's hands


@pytest.mark.parametrize("composed", [False, True])
def test_a_lifespan_of_starlette_alone_and_within_the_applications_own(layer: Closing, composed: bool) -> None:
    @asynccontextmanager
    async def own(app: Starlette) -> AsyncIterator[None]:
        async with lifespan(app):
            yield

    app = Starlette(routes=[consumer_route("/", Room)], lifespan=own if composed else lifespan)
    for life in (1, 2):  # a test client runs it again and again
        with TestClient(app) as client, client.websocket_connect("/") as websocket:
            websocket.send_text("x")
            assert websocket.receive_text() == "x"
        assert layer.closed == life


async def test_anything_else_with_a_beginning_and_an_end(layer: Closing) -> None:
    async with Lifespan(over=0, timeout=0)():
        assert layer.closed == 0
    assert layer.closed == 1
    assert not is_draining()


async def test_who_is_left_in_the_end_is_let_go_before_the_layers_are_closed(layer: Closing) -> None:
    client = Client(Room())
    async with Lifespan(over=0)():
        await client.connect()
        ending = asyncio.create_task(until(lambda: client.sent[-1]["type"] == "websocket.close"))
        ending.add_done_callback(lambda _: client.say(goodbye(1012)))
    await client.ended()
    assert client.sent[-1]["code"] == 1012


async def test_the_layers_are_closed_if_the_application_fails(layer: Closing) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Lifespan()():
            raise ZeroDivisionError
    assert layer.closed == 1


def test_it_says_what_it_does() -> None:
    assert repr(Lifespan(over=30)) == "Lifespan(over=30, timeout=10)"


# Signals


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that reach the server."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


async def test_the_server_gets_a_signal_when_everybody_has_left(layer: Closing, received: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    client = Client(Room())
    async with Lifespan(over=0)():
        await client.connect()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: client.sent[-1]["type"] == "websocket.close")
        assert received == []
        assert is_draining()
        client.say(goodbye(1012))
        await until(lambda: received == [signal.SIGTERM])
        await client.ended()
        assert signal.getsignal(signal.SIGTERM) == before
    assert received == [signal.SIGTERM]


async def test_the_server_gets_a_second_signal_at_once(layer: Closing, received: list[int]) -> None:
    client = Client(Room())
    async with Lifespan(over=0, timeout=20)():
        await client.connect()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(is_draining)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: received == [signal.SIGTERM])
        client.say(goodbye(1012))
        await client.ended()
    assert received == [signal.SIGTERM]


async def test_handlers_are_put_back(layer: Closing, received: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with Lifespan()():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_handler_that_somebody_has_set_meanwhile_stays(layer: Closing, received: list[int]) -> None:
    async with Lifespan()():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


async def test_a_signal_that_is_ignored_stays_ignored(layer: Closing, received: list[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with Lifespan()():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


# Under a real server, with real clients

CLIENTS = 50
OVER, TIMEOUT = 2.0, 1.0


@pytest.fixture
def admin(redis_server: ServerProcess) -> Iterator[Redis]:
    """Looks at the server from outside."""
    with Redis(port=redis_server.port) as client:
        yield client


@asynccontextmanager
async def clients_of(server: RunningUvicorn, count: int = CLIENTS) -> AsyncIterator[list[ClientConnection]]:
    clients = [await connect(f"{server.ws}/room", proxy=None) for _ in range(count)]
    for client in clients:
        await client.send("x")
        assert await client.recv() == "x"
    yield clients
    await asyncio.gather(*(client.wait_closed() for client in clients))


async def closed(client: ClientConnection) -> int | None:
    """The code with which the server closed."""
    await client.wait_closed()
    return client.close_code


def running(redis_url: str, prefix: str, workers: int = 1) -> RunningUvicorn:
    environment = {"REDIS_URL": redis_url, "PREFIX": prefix, "OVER": str(OVER), "TIMEOUT": str(TIMEOUT)}
    return RunningUvicorn(APPLICATION, workers=workers, env=environment)


async def told_to_come_back(server: RunningUvicorn) -> int | None:
    async with connect(f"{server.ws}/room", proxy=None) as late:
        await late.wait_closed()
        return late.close_code


@pytest.mark.parametrize("hangs", [False, True])
async def test_clients_are_closed_at_a_pace_and_the_server_ends(redis_url: str, admin: Redis, hangs: bool) -> None:
    prefix = f"test-{uuid4().hex[:12]}"
    async with running(redis_url, prefix) as server, clients_of(server) as clients:
        if hangs:
            await clients[0].send("hang")
        assert admin.keys(f"{prefix}|*")
        begun = time.monotonic()
        server.terminate()
        ends = asyncio.gather(*map(closed, clients))
        await until(lambda: "disconnect 1012" in server.text)
        assert await told_to_come_back(server) == 1012
        assert Counter(await ends) == {1012: CLIENTS}
        ended = await server.ended() - begun
        assert ended < OVER + TIMEOUT + 4 + 10  # what is promised, and the server's own end on a busy machine
        moments = sorted(map(float, re.findall(r"disconnect 1012 at ([\d.]+)", server.text)))[: CLIENTS - hangs]
        assert len(moments) == CLIENTS - hangs
        assert server.text.count("disconnect ") == CLIENTS
        for earlier, later in ((0, 0.5), (0.5, 1)):  # each half takes its time; a busy machine may come late
            assert moments[int(later * len(moments)) - 1] - moments[int(earlier * len(moments))] > OVER / 5
        assert "the layers are closed" in server.text
        assert ("1 consumers did not end in 1 s, they are cancelled: Room" in server.text) == hangs
        assert "Traceback" not in server.text
    assert not admin.keys(f"{prefix}|*")


async def test_a_hook_may_drain_before_the_server_is_told_anything(redis_url: str) -> None:
    async with running(redis_url, f"test-{uuid4().hex[:12]}") as server, clients_of(server, 5) as clients:
        async with AsyncClient(base_url=server.http, trust_env=False, timeout=PATIENCE) as http:
            assert (await http.post("/drain")).json() == {"closed": 5, "cut": 0, "left": 0}
        assert {await closed(client) for client in clients} == {1012}
        assert await told_to_come_back(server) == 1012
        server.terminate()
        await server.ended()
        assert "the layers are closed" in server.text


async def test_several_workers_drain_each_for_itself(redis_url: str) -> None:
    async with running(redis_url, f"test-{uuid4().hex[:12]}", workers=2) as server:
        async with clients_of(server, 20) as clients:
            server.terminate()
            assert {await closed(client) for client in clients} == {1012}
        await server.ended()
        assert server.text.count("the layers are closed") == 2


# Readiness


async def test_a_process_is_ready_until_it_drains(layer: Closing) -> None:
    assert await ready()
    await drain(0, 0)
    assert str(await ready()) == "draining: this process is about to end"
    async with Lifespan()():
        assert await ready()


async def test_a_process_is_as_ready_as_its_layers(channel_layers: ChannelLayerRegistry) -> None:
    channel_layers.register("chat", RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"]))
    state = await ready(timeout=0.1)
    assert not state
    assert all(problem.startswith("chat: ") for problem in state.problems)
