"""Servers, and the pieces of the wire path on them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.config import parse_hosts
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.topology import Endpoint
from fast_channels.testing.server import ServerProcess
from tests.support.loops import loop_factories
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loop_factories(item)


@pytest.fixture
def own_server(redis_server: ServerProcess) -> Iterator[ServerProcess]:
    """A server that a test may stop and kill; skipped where there is none."""
    with ServerProcess(binary=redis_server.binary) as server:
        yield server


@pytest.fixture
def proxy(redis_server: ServerProcess) -> Iterator[Proxy]:
    """On the way to `redis_server`."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def admin(redis_server: ServerProcess) -> Iterator["Redis"]:
    """A client that looks at `redis_server` from outside."""
    with Redis(port=redis_server.port, decode_responses=True) as client:
        yield client


@pytest.fixture
def endpoint(redis_url: str) -> Endpoint:
    return endpoint_of(redis_url)


def endpoint_of(url: str) -> Endpoint:
    return Endpoint(parse_hosts([url])[0])


QUIET = Patience(ping_every=3600)

MakeLayer = Callable[..., RedisPubSubChannelLayer]


@asynccontextmanager
async def layers_of(kind: type[Any], redis_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes layers on `redis_server` that hear each other and no other test; closed in the end.

    `patience` is what the layer's links have; with `QUIET`, no ping comes between a test and its proxy.
    """
    prefix = f"test-{uuid4().hex[:12]}"
    layers: list[Any] = []

    def make(patience: Patience | None = None, **options: Any) -> Any:
        layer = kind(**{"hosts": [redis_url], "prefix": prefix, **options})
        if patience is not None:
            layer._wiring = replace(layer._wiring, patience=patience)
        layers.append(layer)
        return layer

    yield make
    for layer in layers:
        await layer.close()


@pytest.fixture
async def make_layer(redis_url: str) -> AsyncIterator[MakeLayer]:
    """Makes pub/sub layers. See `layers_of`."""
    async with layers_of(RedisPubSubChannelLayer, redis_url) as make:
        yield make


MakeQueue = Callable[..., RedisChannelLayer]


@pytest.fixture
async def make_queue(redis_url: str) -> AsyncIterator[MakeQueue]:
    """Makes queue layers, each what another process would be. See `layers_of`."""
    async with layers_of(RedisChannelLayer, redis_url) as make:
        yield make


async def receiving(layer: RedisPubSubChannelLayer, channel: str) -> "asyncio.Task[Any]":
    """A task that receives one message of a plain channel; the server has confirmed that it hears it."""
    task = asyncio.create_task(layer.receive(channel))
    address = Addresses(layer.prefix).shared(channel).decode()
    async with asyncio.timeout(PATIENCE):
        while not any(address in server["subscribers"] for server in (await layer.inspect())["servers"]):
            await asyncio.sleep(0.002)
    return task
