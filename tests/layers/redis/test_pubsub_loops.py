"""One pub/sub layer in several event loops, threads and processes; and what is left when they end."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
import uvloop
from redis import Redis

from fast_channels.exceptions import ChannelLayerClosed, ForeignChannelError, ServerUnreachable
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import MakeLayer, receiving
from tests.support.descriptors import open_descriptors, open_sockets
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

Layer = RedisPubSubChannelLayer
T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
    }
    return factories[request.param]


@pytest.fixture
def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run[Any]:
    """Runs a coroutine in a new event loop, as `asyncio.run` does; the loop is closed afterwards."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def layer(redis_url: str, request: pytest.FixtureRequest) -> Layer:
    return Layer([redis_url], prefix=f"test-{abs(hash(request.node.nodeid))}-{os.getpid()}")


async def elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in another thread, with an event loop of its own."""
    return await asyncio.to_thread(asyncio.run, coroutine)


# Several loops at once


@both_loops
async def test_threads_with_loops_of_their_own_send_to_a_channel_of_this_one(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=10_000)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)

    async def send(thread: int) -> None:
        for number in range(50):
            await layer.send(channel, [thread, "direct", number])
            await layer.group_send("room", [thread, "group", number])

    def threads() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda thread: asyncio.run(send(thread)), range(8)))

    sending = asyncio.create_task(asyncio.to_thread(threads))
    messages = [await layer.receive(channel) for _ in range(800)]
    await sending
    for thread in range(8):
        for kind in ("direct", "group"):
            assert [number for who, what, number in messages if (who, what) == (thread, kind)] == list(range(50))
    assert layer.statistics().sent == layer.statistics().group_sent == 400


async def test_a_channel_of_another_loop_that_runs_is_foreign_and_can_be_sent_to_and_grouped(
    make_layer: MakeLayer,
) -> None:
    layer = make_layer()
    channel = await layer.new_channel()

    async def other_loop() -> str:
        own = await layer.new_channel()
        assert own.partition("!")[0] != channel.partition("!")[0]
        with pytest.raises(ForeignChannelError, match="another event loop of this process"):
            await layer.receive(channel)
        await layer.group_add("room", channel)
        await layer.group_add("room", own)
        await layer.group_send("room", "to both")
        assert await layer.receive(own) == "to both"
        await layer.group_discard("room", channel)
        await layer.group_send("room", "to one")
        await layer.send(channel, "direct")
        return own

    await elsewhere(other_loop())
    assert [await layer.receive(channel) for _ in range(2)] == ["to both", "direct"]


async def test_a_channel_is_released_by_its_owner_whoever_asks(make_layer: MakeLayer) -> None:
    layer = make_layer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await elsewhere(layer.release_channel(channel))
    local = layer._here().local
    await until(lambda: not local.mailboxes and not local.groups)
    await layer.release_channel(f"specific.{'0' * 32}!another-process")


async def test_closing_in_one_loop_closes_the_others(make_layer: MakeLayer) -> None:
    layer = make_layer()
    channel = await layer.new_channel()
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0)
    await elsewhere(layer.close())
    with pytest.raises(ChannelLayerClosed):
        await waiting
    assert layer._here().local.mailboxes == {}


# One loop after the other


def test_a_channel_of_a_closed_loop_is_taken_over_with_its_messages_and_groups(layer: Layer, run: Run[Any]) -> None:
    async def first() -> str:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for number in range(3):
            await layer.send(channel, number)
        assert await layer.receive(channel) == 0
        await until(lambda: len(layer._here().local.mailboxes[channel]) == 2)
        return channel

    async def second(kept: list[int]) -> None:
        assert [await layer.receive(channel) for _ in kept] == kept
        await layer.group_add("lobby", channel)
        await layer.group_send("room", "group")
        await layer.send(channel, "direct")
        assert [await layer.receive(channel) for _ in range(2)] == ["group", "direct"]

    channel = run(first())
    for kept in ([1, 2], [], []):
        run(layer.group_add("hall", channel))
        run(second(kept))
    run(layer.release_channel(channel))
    run(layer.close())


def test_a_call_for_each_step_works_as_one_loop_does(layer: Layer, run: Run[Any]) -> None:
    """What synchronous code does that wraps each call."""
    channel = run(layer.new_channel())
    run(layer.group_add("room", channel))

    async def send_and_receive() -> Any:
        waiting = asyncio.create_task(layer.receive(channel))
        while not waiting.done():  # until the server knows that this loop listens, nobody hears it
            await layer.group_send("room", "hello")
            await asyncio.wait({waiting}, timeout=0.02)
        return await waiting

    assert run(send_and_receive()) == "hello"
    run(layer.group_discard("room", channel))
    assert run(layer.inspect())["groups"] == {}
    run(layer.close())


def test_what_a_closed_loop_held_survives_an_outage_when_it_is_taken_over(
    redis_server: ServerProcess, run: Run[Any]
) -> None:
    with Proxy(redis_server.port) as proxy:
        layer = Layer([proxy.url], prefix=f"adopt-{os.getpid()}", send_timeout=2)

        async def first() -> str:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.send(channel, "kept")
            await until(lambda: len(layer._here().local.mailboxes[channel]))
            return channel

        async def second() -> None:
            proxy.close()
            with pytest.raises(ServerUnreachable):
                await layer.group_add("hall", channel)
            proxy.forward()
            expected = {f"{layer.prefix}|g|room": 1, f"{layer.prefix}|i|{layer.client_prefix}": 1}
            while await subscribers() != expected:
                await asyncio.sleep(0.002)
            await layer.group_send("room", "group")
            await layer.send(channel, "direct")
            assert [await layer.receive(channel) for _ in range(3)] == ["kept", "group", "direct"]
            await layer.close()

        async def subscribers() -> Any:
            try:
                return (await layer.inspect())["servers"][0]["subscribers"]
            except ServerUnreachable:
                return None

        channel = run(first())
        run(second())


@pytest.mark.parametrize("keys", [None, ["a secret of both"]])
def test_another_process_reaches_a_channel_that_was_taken_over(
    redis_url: str, run: Run[Any], keys: list[str] | None
) -> None:
    options: dict[str, Any] = {"prefix": f"adopted-{os.getpid()}", "symmetric_encryption_keys": keys}
    layer, other = Layer([redis_url], **options), Layer([redis_url], **options)

    async def second() -> None:
        waiting = asyncio.create_task(layer.receive(channel))
        while not (await layer.inspect())["servers"][0]["subscribers"]:
            await asyncio.sleep(0.002)
        await other.group_add("room", channel)
        await other.group_send("room", "group")
        assert await waiting == "group"
        await other.send(channel, "direct")
        assert await layer.receive(channel) == "direct"
        await other.close()
        await layer.close()

    channel = run(layer.new_channel())
    run(second())


def test_a_receiver_is_not_robbed_of_its_plain_channel_by_a_take_over(layer: Layer, run: Run[Any]) -> None:
    async def first() -> str:
        waiting = await receiving(layer, "plain")
        await layer.send("plain", "one")
        assert await waiting == "one"
        await layer.send("plain", "two")
        await until(lambda: len(layer._here().local.mailboxes["plain"]))
        return await layer.new_channel()

    async def second() -> None:
        waiting = await receiving(layer, "plain")
        await layer.group_add("room", channel)
        assert await waiting == "two"
        waiting = asyncio.create_task(layer.receive("plain"))
        await layer.send("plain", "three")
        assert await waiting == "three"
        await layer.close()

    channel = run(first())
    run(second())


def test_channels_of_loops_that_are_long_gone_are_forgotten(layer: Layer) -> None:
    channels = [asyncio.run(layer.new_channel()) for _ in range(80)]

    async def last() -> None:
        with pytest.raises(ForeignChannelError):
            await layer.receive(channels[0])
        await layer.send(channels[-1], "nobody hears it yet")
        await layer.group_add("room", channels[-1])
        await layer.group_send("room", "x")
        assert await layer.receive(channels[-1]) == "x"
        assert len(layer._clients) <= 70
        await layer.close()

    asyncio.run(last())


# Processes


def test_a_forked_child_is_somebody_else_and_leaves_its_parent_alone(redis_url: str) -> None:
    """In a process of its own, because forking one that has threads is not safe."""
    code = f"""
import asyncio, os, sys
from fast_channels.exceptions import ForeignChannelError
from fast_channels.layers.redis import RedisPubSubChannelLayer

layer = RedisPubSubChannelLayer([{redis_url!r}], prefix="fork")

async def child(channel):
    assert layer.client_prefix != before
    assert layer.statistics().disconnections == 0
    try:
        await layer.receive(channel)
    except ForeignChannelError:
        pass
    own = await layer.new_channel()
    assert own.partition("!")[0] != channel.partition("!")[0]
    await layer.group_add("room", own)
    await layer.group_add("room", channel)
    await layer.group_send("room", "to both")
    assert await layer.receive(own) == "to both"
    await layer.send(channel, "from the child")
    await layer.close()

async def parent():
    channel = await layer.new_channel()
    await layer.send(channel, "own")
    waiting = asyncio.ensure_future(layer.receive(channel))
    assert await waiting == "own"
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(child(channel))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert layer.client_prefix == before
    messages = [await layer.receive(channel) for _ in range(2)]
    assert messages == ["to both", "from the child"], messages
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert status == 0
    await layer.send(channel, "goes on")
    assert await layer.receive(channel) == "goes on"
    assert layer.statistics().disconnections == 0
    await layer.close()

before = layer.client_prefix
asyncio.run(parent())
print("done")
"""
    # a warning about forking a process with threads is right, and not what is tried here
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert done.stderr == ""


# What is left


@both_loops
async def test_closing_leaves_nothing_and_the_layer_opens_again(make_layer: MakeLayer, admin: Redis) -> None:
    await asyncio.to_thread(int)  # its thread stays, and is not ours
    clients = len(admin.client_list())
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    layer, other = make_layer(), make_layer()
    for _ in range(5):
        channel = await layer.new_channel()
        await other.group_add("room", channel)
        await other.group_send("room", "x")
        assert await layer.receive(channel) == "x"
        (await receiving(layer, "plain")).cancel()
        for one in (layer, other):
            await one.close()
            await one.close()
        await until(lambda: asyncio.all_tasks() == tasks)
        await until(lambda: open_sockets() == sockets)
        await until(lambda: len(admin.client_list()) == clients)
        assert layer.statistics().disconnections == 0


def test_fifty_runs_leave_no_descriptor_and_no_warning(layer: Layer, run: Run[Any]) -> None:
    """Also without a `close()`: the end of the loop is the end of what it held."""

    async def use(closes: bool) -> None:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", "x")
        assert await layer.receive(channel) == "x"
        if closes:
            await layer.close()

    run(use(True))
    gc.collect()
    before = open_descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(50):
            run(use(number % 2 == 0))
        run(layer.close())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert open_descriptors() == before


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loops_that_are_closed_under_the_layer_make_no_noise_and_leave_no_descriptor(redis_url: str, loop: str) -> None:
    """Closed with everything running, as `asyncio.run` never does: asyncio itself warns that transports are open."""
    code = f"""
import gc, os
import {loop} as loops
from fast_channels.layers.redis import RedisPubSubChannelLayer

layer = RedisPubSubChannelLayer([{redis_url!r}], prefix="closed")

async def use():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", "x")
    assert await layer.receive(channel) == "x"

def run(last):
    loop = loops.new_event_loop()
    loop.run_until_complete(use())
    if last:
        loop.run_until_complete(layer.close())
    loop.close()
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

before = run(False)
for _ in range(20):
    assert run(False) <= before + 4
run(True)
print("done")
"""
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_nothing_of_asyncio_is_patched(layer: Layer, run: Run[Any]) -> None:
    async def use() -> tuple[Any, Any]:
        loop = asyncio.get_running_loop()
        before = (dict(vars(type(loop))), dict(getattr(loop, "__dict__", {})).keys())
        await layer.new_channel()
        await layer.close()
        return before, (dict(vars(type(loop))), dict(getattr(loop, "__dict__", {})).keys())

    before, after = run(use())
    assert before == after


def test_a_layer_can_be_looked_at_where_no_loop_runs(layer: Layer) -> None:
    assert not hasattr(layer, "no_such_thing")
    assert hasattr(layer, "group_send")
    assert layer.extensions == ["groups", "flush"]
    assert repr(layer).startswith("<RedisPubSubChannelLayer ")
    assert layer.statistics().sent == 0
    in_thread = []
    thread = threading.Thread(target=lambda: in_thread.append(hasattr(layer, "close")))
    thread.start()
    thread.join()
    assert in_thread == [True]
