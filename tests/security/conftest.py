"""Layers on real servers, and somebody who looks at those from outside."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess

MakeQueue = Callable[..., RedisChannelLayer]
MakePubSub = Callable[..., RedisPubSubChannelLayer]


@pytest.fixture
def admin(redis_server: ServerProcess) -> Iterator[Any]:
    with Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def make_queue(redis_url: str, prefix: str) -> AsyncIterator[MakeQueue]:
    """Makes layers that hear each other; closed in the end."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> RedisChannelLayer:
            layer = RedisChannelLayer(**{"hosts": [redis_url], "prefix": prefix, **options})
            stack.push_async_callback(layer.close)
            return layer

        yield make


@pytest.fixture
async def make_pubsub(redis_url: str, prefix: str) -> AsyncIterator[MakePubSub]:
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> RedisPubSubChannelLayer:
            layer = RedisPubSubChannelLayer(**{"hosts": [redis_url], "prefix": prefix, **options})
            stack.push_async_callback(layer.close)
            return layer

        yield make


@pytest.fixture
async def nothing_fails(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No task and no callback may fail unseen, and no log line is long or has a line break in it."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
    caplog.set_level(logging.INFO)
    yield
    await asyncio.sleep(0)
    assert not unseen
    lines = [record.getMessage() for record in caplog.records]
    assert not [line for line in lines if len(line) > 600 or not line.isprintable()]
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
