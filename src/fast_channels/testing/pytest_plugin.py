"""Fixtures for tests of applications that use channel layers. Pytest finds this plugin by itself.

| fixture | what it is | lives |
|---|---|---|
| `redis_server` | a real server on a free port, a `ServerProcess` | a run (with xdist: a worker) |
| `redis_url` | its URL; override it to test against a server of your own | a run |
| `in_memory_layer` | an `InMemoryChannelLayer` | a test |
| `pubsub_layer` | a `RedisPubSubChannelLayer` on `redis_url`, with a prefix of its own | a test |
| `queue_layer` | a `RedisChannelLayer` on `redis_url`, with a prefix of its own; it is flushed afterwards | a test |
| `channel_layers` | the registry of layers, empty; put back as it was afterwards | a test |

Tests that need a server are skipped where there is none, and say what to install. The layers work in any event loop:
with pytest-asyncio, with anyio, and with `asyncio.run` in a plain test.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
    from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
    from fast_channels.testing.server import ServerProcess

__all__ = ["channel_layers", "in_memory_layer", "pubsub_layer", "queue_layer", "redis_server", "redis_url"]

# Everything heavy is imported by the fixture that needs it: this module is imported in every project that has the
# library.

pytest.register_assert_rewrite("fast_channels.testing.contract")


@pytest.fixture(scope="session")
def redis_server() -> "Iterator[ServerProcess]":
    """A real server on a free port, stopped at the end; started once in each worker of xdist."""
    from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary

    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ServerProcess() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: "ServerProcess") -> str:
    """The URL of `redis_server`."""
    return redis_server.url


@pytest.fixture
def in_memory_layer() -> "Iterator[InMemoryChannelLayer]":
    """A layer without a server."""
    from fast_channels.layers import InMemoryChannelLayer

    layer = InMemoryChannelLayer()
    yield layer
    _close(layer)


@pytest.fixture
def pubsub_layer(redis_url: str) -> "Iterator[RedisPubSubChannelLayer]":
    """A pub/sub layer whose prefix no other test has."""
    pytest.importorskip("redis", reason="needs the extra: pip install 'fast-channels[redis]'")
    from fast_channels.layers.redis import RedisPubSubChannelLayer

    layer = RedisPubSubChannelLayer(hosts=[redis_url], prefix=f"test-{uuid4().hex[:12]}")
    yield layer
    _close(layer)


@pytest.fixture
def queue_layer(redis_url: str) -> "Iterator[RedisChannelLayer]":
    """A queue whose prefix no other test has. What the test left in it is dropped, if its server is there."""
    pytest.importorskip("redis", reason="needs the extra: pip install 'fast-channels[redis]'")
    from fast_channels.layers.redis import RedisChannelLayer

    layer = RedisChannelLayer(hosts=[redis_url], prefix=f"test-{uuid4().hex[:12]}")
    yield layer
    _run(_flush_and_close(layer))


@pytest.fixture
def channel_layers() -> "Iterator[ChannelLayerRegistry]":
    """The registry that `get_channel_layer()` looks in, empty. What a test registers is closed."""
    from fast_channels.layers import channel_layers as registry

    before = {alias: registry[alias] for alias in registry.list_aliases()}
    registry.clear()
    yield registry
    layers = {id(registry[alias]): registry[alias] for alias in registry.list_aliases()}
    registry.clear()
    for alias, layer in before.items():
        registry.register(alias, layer)
    _close(*layers.values())


async def _flush_and_close(layer: "RedisChannelLayer") -> None:
    from fast_channels.exceptions import FastChannelsError

    with contextlib.suppress(FastChannelsError, TimeoutError):  # the test may have stopped the server
        async with asyncio.timeout(1):
            await layer.flush()
    await layer.close()


def _close(*layers: "BaseChannelLayer") -> None:
    async def close() -> None:
        for layer in layers:
            await layer.close()

    _run(close())


def _run(work: Coroutine[Any, Any, None]) -> None:
    # a loop of its own, made so that nothing global is touched: a test's loop is not running any more
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)
