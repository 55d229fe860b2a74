"""Consumers that leave their channels behind, and the middleware that does not."""

import asyncio
import contextlib
from typing import Any

import pytest

from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.middleware import ChannelReleaser
from tests.support.loops import both_loops

SCOPE: Any = {"type": "websocket", "path": "/"}


async def nothing(*_: Any) -> Any:
    """Neither receives nor sends."""


class Leaver:
    """An application that makes channels, joins a group, and leaves without a word."""

    def __init__(self, layer: BaseChannelLayer, ending: BaseException | None = None) -> None:
        self.layer = layer
        self.ending = ending
        self.channels: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.channels = [await self.layer.new_channel(), await asyncio.create_task(self.layer.new_channel())]
        for channel in self.channels:
            await self.layer.group_add("room", channel)
        if self.ending is not None:
            raise self.ending


@pytest.fixture(params=["in_memory_layer", "pubsub_layer", "queue_layer"])
def layer(request: pytest.FixtureRequest) -> BaseChannelLayer:
    layer: InMemoryChannelLayer | RedisPubSubChannelLayer | RedisChannelLayer = request.getfixturevalue(request.param)
    return layer


async def members(layer: BaseChannelLayer) -> int:
    """How many channels hear what is said in the room."""
    local: Any = layer._local if isinstance(layer, InMemoryChannelLayer) else None
    if isinstance(layer, RedisPubSubChannelLayer):
        local = layer._here().local
    elif isinstance(layer, RedisChannelLayer):
        local = (await layer._here().inbox()).local
    return len(local.mailboxes)


@both_loops
@pytest.mark.parametrize("ending", [None, RuntimeError("bad"), asyncio.CancelledError()])
async def test_channels_end_with_the_connection(layer: BaseChannelLayer, ending: BaseException | None) -> None:
    before = await layer.new_channel()
    application = Leaver(layer, ending)
    with pytest.raises(type(ending)) if ending is not None else contextlib.nullcontext():
        await ChannelReleaser(application)(SCOPE, nothing, nothing)
    assert len(application.channels) == 2
    assert await members(layer) == 1, "the one that was made before"
    await layer.send(before, {"type": "x"})
    assert await layer.receive(before) == {"type": "x"}


async def test_what_is_released_earlier_is_not_kept_in_mind(in_memory_layer: InMemoryChannelLayer) -> None:
    released: list[str] = []

    class Layer(InMemoryChannelLayer):
        async def release_channel(self, channel: str) -> None:
            released.append(channel)
            await super().release_channel(channel)

    layer = Layer()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await layer.release_channel(await layer.new_channel())

    await ChannelReleaser(application)(SCOPE, nothing, nothing)
    assert len(released) == 1


async def test_twin_without_it_they_stay(layer: BaseChannelLayer) -> None:
    await Leaver(layer)(SCOPE, nothing, nothing)
    assert await members(layer) == 2
