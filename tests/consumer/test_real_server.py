"""Consumers behind a real server, with real clients: what the ASGI events of the other tests stand for."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import DenyConnection
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.routing import consumer_route
from tests.consumer.client import until

disconnects: list[int] = []


class Room(AsyncWebsocketConsumer):
    channel_layer_alias: str | None = "default"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            raise ZeroDivisionError("in a handler")
        if text_data == "slow":
            await slow.wait()
        await self.send(text_data, bytes_data)

    async def disconnect(self, code: int) -> None:
        disconnects.append(code)


class Denying(Room):
    async def connect(self) -> None:
        raise DenyConnection


class Layerless(Room):
    channel_layer_alias = "xyz"


class Impatient(Room):
    cancel_handler_on_disconnect = True


slow: asyncio.Event


@pytest.fixture
async def server(layer: InMemoryChannelLayer) -> AsyncIterator[str]:
    """The address of a server of the consumers above."""
    global slow
    slow = asyncio.Event()
    disconnects.clear()
    kinds = {"/room": Room, "/denying": Denying, "/layerless": Layerless, "/impatient": Impatient}
    app = Starlette(routes=[consumer_route(path, kind) for path, kind in kinds.items()])
    async with serving(app) as address:
        yield address


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, ws="websockets-sansio", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.ensure_future(server.serve([listening]))
        await until(lambda: server.started)
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def closed(client: ClientConnection) -> tuple[int, str]:
    """How the server closed the connection."""
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(client.recv(), 5)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_frames_and_broadcasts(
    server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(f"{server}/room", proxy=None) as one, connect(f"{server}/room", proxy=None) as two:
        await one.send("x")
        assert await one.recv() == "x"
        await one.send(b"")
        assert await one.recv() == b""
        await layer.group_send("room", {"type": "websocket.send", "text": "to all"})
        assert [await one.recv(), await two.recv()] == ["to all", "to all"]
    await until(lambda: len(disconnects) == 2)
    assert disconnects == [1000, 1000]
    assert not errors(caplog)


async def test_a_kick(server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(f"{server}/room", proxy=None) as client:
        await client.send("x")
        await client.recv()
        await layer.group_send("room", {"type": "websocket.close", "code": 4001, "reason": "out"})
        assert await closed(client) == (4001, "out")
    await until(lambda: disconnects == [4001])
    assert not errors(caplog)


async def test_a_refusal(server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{server}/denying", proxy=None)
    await until(lambda: disconnects == [1006])
    assert not errors(caplog)


async def test_an_error_ends_the_connection_after_the_groups_are_left(
    server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(f"{server}/room", proxy=None) as client:
        await client.send("fail")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
    assert disconnects == [1011]
    assert not layer.groups
    assert any("Exception in ASGI application" in text for text in errors(caplog))


async def test_a_layer_that_is_not_registered_refuses_the_connection(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus, match="500"):
        await connect(f"{server}/layerless", proxy=None)
    assert disconnects == []
    assert "Channel layer 'xyz' not registered (registered: 'default')" in caplog.text


@pytest.mark.parametrize("how", ["closes", "breaks"])
async def test_a_client_that_leaves_during_a_handler(
    server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    client = await connect(f"{server}/room", proxy=None)
    await client.send("slow")
    await until(lambda: bool(layer.groups))
    if how == "closes":
        await client.close(4001)
    else:
        client.transport.abort()
    await until(lambda: not layer.groups)  # the handler runs still, and then it sends
    assert disconnects == []
    slow.set()
    await until(lambda: bool(disconnects))
    assert disconnects[0] in ([4001] if how == "closes" else [1005, 1006])  # servers differ
    assert not errors(caplog)
    await client.wait_closed()


async def test_a_client_that_leaves_cancels_an_impatient_handler(server: str, layer: InMemoryChannelLayer) -> None:
    async with connect(f"{server}/impatient", proxy=None) as client:
        await client.send("slow")
        await until(lambda: bool(layer.groups))
    await until(lambda: disconnects == [1000])


async def test_a_server_that_shuts_down_disconnects_its_consumers(layer: InMemoryChannelLayer) -> None:
    disconnects.clear()
    async with serving(Room.as_asgi()) as address:
        client = await connect(address, proxy=None)
        await client.send("x")
        assert await client.recv() == "x"
    assert disconnects == [1012]
    assert not layer.groups
    await client.wait_closed()
