"""What ten thousand connections and a thousand event loops leave behind: nothing."""

import asyncio
import gc
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import ChannelLayerRegistry
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.traffic import every
from tests.support.descriptors import open_descriptors
from tests.support.waiting import PATIENCE, until

Layer = RedisPubSubChannelLayer


# Connections


class Visitor(AsyncWebsocketConsumer):
    """Joins a group that is always there, and one of its own; hears a message; goes."""

    channel_layer_alias = "leaks"
    groups = ["room"]

    async def connect(self) -> None:
        await self.channel_layer.group_add(f"of-{self.channel_name[-16:]}", self.channel_name)
        await super().connect()

    async def say(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def visit(application: Any) -> None:
    """A connection, as a server makes it."""
    said = asyncio.Event()
    steps = iter(["connect", "message", "disconnect"])

    async def receive() -> dict[str, Any]:
        step = next(steps, "")
        if step == "message":
            await said.wait()
            step = next(steps)
        if not step:
            await asyncio.Event().wait()
        return {"type": f"websocket.{step}", "code": 1000}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            said.set()

    await application({"type": "websocket", "path": "/", "headers": [], "subprotocols": []}, receive, send)


async def visits(layer: Layer, count: int) -> None:
    """So many connections, 50 at a time, in a room where somebody always speaks."""
    application = Visitor.as_asgi()

    async def visitor() -> None:
        for _ in range(count // 50):
            await visit(application)

    speaking: set[asyncio.Task[None]] = set()

    def speak() -> None:
        task = asyncio.create_task(layer.group_send("room", {"type": "say", "text": "x"}))
        speaking.add(task)
        task.add_done_callback(speaking.discard)

    async with every(0.002, speak):
        await asyncio.gather(*(visitor() for _ in range(50)))
    await until(lambda: not speaking)


def memory() -> tuple[int, int]:
    """What the collector knows, in objects, and what the process has, in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(gc.get_objects()), pages * resource.getpagesize()


@pytest.fixture
def layer(server: ServerProcess, channel_layers: ChannelLayerRegistry) -> Layer:
    layer = Layer([server.url])
    channel_layers.register("leaks", layer)
    return layer


async def test_ten_thousand_connections_leave_nothing(layer: Layer) -> None:
    await visits(layer, 5_000)  # caches fill
    objects, size = memory()
    await visits(layer, 10_000)
    objects_after, size_after = memory()
    assert repr(layer._here().local) == "<LocalChannels: 0 channels, 0 groups>"
    assert objects_after - objects < 500
    assert size_after - size < 8e6, "less than a channel for each"
    await layer.close()


async def test_twin_without_a_release_each_connection_stays(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(self: Layer, channel: str) -> None:
        pass

    monkeypatch.setattr(Layer, "release_channel", keep)
    monkeypatch.setattr(Layer, "group_discard", lambda self, group, channel: keep(self, channel))
    await visits(layer, 500)
    objects, _ = memory()
    await visits(layer, 500)
    assert memory()[0] - objects > 500
    await layer.close()


# Event loops


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]


async def use(layer: Layer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", "x")
    assert await layer.receive(channel) == "x"


def loops(layer: Layer, count: int, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> int:
    """So many event loops that use the layer and end; how many descriptors are open afterwards."""
    for _ in range(count):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(use(layer))
    return open_descriptors()


def test_a_thousand_event_loops_leave_no_descriptor(
    server: ServerProcess, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    layer = Layer([server.url])
    before = loops(layer, 10, new_loop)
    assert loops(layer, 1000, new_loop) <= before
    assert len(layer._parts) == 1
    assert len(layer._clients) <= 70


def test_twin_connections_that_are_not_ended_with_their_loop_stay_open(server: ServerProcess) -> None:
    """In a process of its own, which may leave what it likes."""
    code = f"""
import asyncio, gc, os
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.connection import Connection

layer = RedisPubSubChannelLayer([{server.url!r}])
Connection.finish = lambda self: None
gc.disable()
before = len(os.listdir("/proc/self/fd"))
for _ in range(10):
    asyncio.run(layer.new_channel())
print(len(os.listdir("/proc/self/fd")) - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert int(done.stdout) >= 10, done
