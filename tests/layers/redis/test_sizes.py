"""Messages that are too large for whoever sends them, and for whoever finds them on the server."""

import asyncio
import logging
from typing import Any

import pytest

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from tests.layers.redis.conftest import MakeLayer, MakeQueue, receiving
from tests.support.waiting import until

KINDS: list[type[Any]] = [InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer]
LARGE = {"type": "x", "text": "x" * 200}
SMALL = {"type": "x"}

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
async def test_the_limit_is_an_argument(kind: type[Any]) -> None:
    layer = kind(max_message_size=100)
    with pytest.raises(MessageTooLarge) as raised:
        await layer.send("jobs", LARGE)
    assert raised.value.limit == 100
    assert raised.value.size > 200
    assert kind().max_message_size == BaseChannelLayer.max_message_size == 16 * 1024 * 1024


@each_kind
async def test_a_subclass_may_have_another(kind: type[Any]) -> None:
    class Small(kind):  # type: ignore[misc]
        max_message_size = 100

    assert Small().max_message_size == 100
    assert Small(max_message_size=50).max_message_size == 50


@each_kind
@pytest.mark.parametrize("size", [0, -1, 1.5, "many"])
def test_a_limit_that_makes_no_sense(kind: type[Any], size: Any) -> None:
    with pytest.raises(ValueError, match="max_message_size is a number of bytes, at least 1, not"):
        kind(max_message_size=size)


def set_aside(layer: BaseChannelLayer) -> int:
    return layer.statistics().dropped.get("too_large", 0)


async def test_pubsub_sets_aside_what_is_larger(make_layer: MakeLayer, caplog: pytest.LogCaptureFixture) -> None:
    sender, receiver = make_layer(), make_layer(max_message_size=100)
    channel = await receiver.new_channel()
    await receiver.group_add("room", channel)
    shared = await receiving(receiver, "jobs")
    with caplog.at_level(logging.WARNING):
        for message in (LARGE, SMALL):
            await sender.send(channel, message)
            await sender.group_send("room", message)
            await sender.send("jobs", message)
        assert [await receiver.receive(channel) for _ in range(2)] == [SMALL, SMALL]
        assert await shared == SMALL
    assert set_aside(receiver) == 3
    assert sum("more than max_message_size, 100: set aside" in line for line in caplog.messages) == 2


async def test_the_queue_sets_aside_what_is_larger(make_queue: MakeQueue) -> None:
    sender, receiver = make_queue(), make_queue(max_message_size=100)
    channel = await receiver.new_channel()
    await receiver.group_add("room", channel)
    for message in (LARGE, SMALL):
        await sender.send(channel, message)
        await sender.group_send("room", message)
        await sender.send("jobs", message)
    assert [await receiver.receive(channel) for _ in range(2)] == [SMALL, SMALL]
    assert await asyncio.wait_for(receiver.receive("jobs"), 10) == SMALL
    assert set_aside(receiver) == 3
    await until(lambda: receiver.statistics().dead_lettered == 1)  # of a shared channel, nothing is lost
