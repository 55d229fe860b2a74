"""Code without an event loop that sends through one it makes for each call: nothing of the call is left behind."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop
from asgiref.sync import async_to_sync
from redis import Redis

from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.support.descriptors import open_descriptors
from tests.support.tls import Authority
from tests.support.waiting import PATIENCE

MESSAGE = {"type": "job.progress", "done": 1}

Call = Callable[[BaseChannelLayer], None]


def with_asyncio(layer: BaseChannelLayer) -> None:
    asyncio.run(layer.group_send("room", MESSAGE))


def with_asgiref(layer: BaseChannelLayer) -> None:
    async_to_sync(layer.group_send)("room", MESSAGE)


def with_uvloop(layer: BaseChannelLayer) -> None:
    uvloop.run(layer.group_send("room", MESSAGE))


def with_a_channel(layer: BaseChannelLayer) -> None:
    asyncio.run(ask(layer))


async def ask(layer: BaseChannelLayer) -> None:
    """A question whose answer comes to a channel of its own."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", MESSAGE)
    assert await layer.receive(channel) == MESSAGE
    await layer.release_channel(channel)


each_call = pytest.mark.parametrize("call", [with_asyncio, with_asgiref, with_uvloop, with_a_channel])


@pytest.fixture(params=["in-memory", "pubsub", "queue"])
def layer(request: pytest.FixtureRequest, server: ServerProcess) -> BaseChannelLayer:
    if request.param == "in-memory":
        return InMemoryChannelLayer()
    return (RedisPubSubChannelLayer if request.param == "pubsub" else RedisChannelLayer)([server.url])


@pytest.fixture
def admin(server: ServerProcess) -> Iterator["Redis"]:
    with Redis.from_url(server.url) as admin:
        admin.ping()
        yield admin


class Left(NamedTuple):
    """What there is after some calls."""

    descriptors: int
    open_loops: int
    pending_tasks: int
    threads: int

    @classmethod
    def now(cls) -> "Left":
        descriptors = open_descriptors()  # before the collector may close any
        gc.collect()
        things = gc.get_objects()
        loops = sum(isinstance(thing, asyncio.AbstractEventLoop) and not thing.is_closed() for thing in things)
        tasks = sum(isinstance(thing, asyncio.Task) and not thing.done() for thing in things)
        return cls(descriptors, loops, tasks, threading.active_count())


def connections(admin: "Redis") -> int:
    clients: Any = admin.client_list()
    return sum(client["name"] == "fast-channels" for client in clients)


def wait_for_no_connection(admin: "Redis") -> None:
    """The server may notice a moment later that the last one was closed."""
    deadline = time.monotonic() + PATIENCE
    while (count := connections(admin)) > 0:
        assert time.monotonic() < deadline, f"{count} connections, though all loops have ended"


def resident() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def repeat(call: Call, layer: BaseChannelLayer, count: int) -> None:
    for _ in range(count):
        call(layer)


def leaves_nothing(call: Call, layer: BaseChannelLayer, admin: "Redis", count: int) -> None:
    repeat(call, layer, 20)
    before = Left.now()
    wait_for_no_connection(admin)
    repeat(call, layer, count)
    assert Left.now() == before
    wait_for_no_connection(admin)


@each_call
def test_a_call_leaves_nothing(layer: BaseChannelLayer, call: Call, admin: "Redis") -> None:
    leaves_nothing(call, layer, admin, 100)


def test_calls_in_threads_leave_nothing(layer: BaseChannelLayer, admin: "Redis") -> None:
    def calls_in_threads(layer: BaseChannelLayer) -> None:
        with ThreadPoolExecutor(4) as threads:
            for call in [with_asyncio, with_asgiref, with_uvloop, with_a_channel]:
                threads.submit(repeat, call, layer, 5)

    leaves_nothing(calls_in_threads, layer, admin, 5)


@pytest.mark.faults
@pytest.mark.timeout(300)
@each_call
def test_thousands_of_calls_leave_nothing(layer: BaseChannelLayer, call: Call, admin: "Redis") -> None:
    repeat(call, layer, 1000)
    before = resident()
    leaves_nothing(call, layer, admin, 10_000 if call in (with_asyncio, with_asgiref) else 2_000)
    assert resident() - before < 4e6, "less than a small object for each"


@pytest.mark.tls
@pytest.mark.parametrize("kind", [RedisPubSubChannelLayer, RedisChannelLayer])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_with_tls_ends_with_its_loop(kind: Any, run: Any, tmp_path: Path) -> None:
    """It takes a few turns of the loop. What is not closed is warned about, and a warning is an error."""
    authority = Authority(tmp_path)
    with authority.server("localhost") as server:
        layer = kind([{"address": f"rediss://localhost:{server.port}", "ssl_ca_certs": authority.file}])
        run(layer.group_send("room", MESSAGE))
        before = open_descriptors()
        for _ in range(10):
            run(layer.group_send("room", MESSAGE))
        assert open_descriptors() == before
        gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the loops: what they had open when they were closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [RedisPubSubChannelLayer, RedisChannelLayer])
def test_what_a_loop_left_open_is_closed_by_the_next_one(
    kind: Any, server: ServerProcess, admin: "Redis", caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that somebody closes without ending its tasks, as `asyncio.run` would."""
    layer = kind([server.url])
    for _ in range(20):
        in_a_loop_that_is_only_closed(ask(layer))
    asyncio.run(ask(layer))
    wait_for_no_connection(admin)
    gc.collect()  # here, where nobody minds what the loops have to say about it
    assert "was destroyed" not in caplog.text


def in_a_loop_that_is_only_closed(work: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()


def test_twin_connections_of_a_loop_that_goes_on_stay_open(layer: BaseChannelLayer, admin: "Redis") -> None:
    with asyncio.Runner() as runner:
        runner.run(layer.group_send("room", MESSAGE))
        assert connections(admin) == (not isinstance(layer, InMemoryChannelLayer))


# What a released channel leaves behind in a loop that goes on


def ways_known() -> int:
    gc.collect()
    return sum(type(thing).__name__ == "Outlet" for thing in gc.get_objects())


@pytest.mark.parametrize("kind", [RedisPubSubChannelLayer, RedisChannelLayer])
async def test_the_way_to_a_released_channel_is_forgotten(kind: Any, server: ServerProcess) -> None:
    async with kind([server.url]) as layer:
        before = ways_known()
        for _ in range(20):
            channel = await layer.new_channel()
            await layer.send(channel, MESSAGE)
            assert await layer.receive(channel) == MESSAGE
            assert ways_known() == before + 1
            await layer.release_channel(channel)
        assert ways_known() == before
