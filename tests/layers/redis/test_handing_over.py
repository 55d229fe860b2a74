"""From a shared channel to a handler, and back: what that means for expiry, for errors, and for who comes next."""

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.keys import QueueKeys
from tests.layers.redis.conftest import MakeQueue
from tests.support.waiting import until

EXPIRY = 2.0


class Handler:
    """It has one message, and does not end by itself."""

    def __init__(self, layer: RedisChannelLayer) -> None:
        self._layer = layer
        self._has_it = asyncio.Event()
        self._task = asyncio.create_task(self._handle())

    async def has_it(self) -> None:
        await self._has_it.wait()

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _handle(self) -> None:
        async with self._layer.delivery("jobs"):
            self._has_it.set()
            await asyncio.Event().wait()


@pytest.fixture
def layer(make_queue: MakeQueue) -> RedisChannelLayer:
    return make_queue(expiry=EXPIRY, max_deliveries=2, retry_delay=0)


@pytest.fixture
def keys(layer: RedisChannelLayer) -> QueueKeys:
    return QueueKeys(layer.prefix)


# Expiry ends when a handler has the message


@pytest.mark.parametrize("end", ["the handler is cancelled", "the layer is closed"])
async def test_what_a_handler_had_does_not_expire(layer: RedisChannelLayer, make_queue: MakeQueue, end: str) -> None:
    other = make_queue()
    await layer.send("jobs", {"n": 1})
    handler = Handler(layer)
    await handler.has_it()
    await asyncio.sleep(EXPIRY)
    if end == "the layer is closed":
        await layer.close()
    await handler.cancel()
    assert await other.receive("jobs") == {"n": 1}
    assert other.statistics().dropped == {}


# What a handler raises


async def fail(layer: RedisChannelLayer, error: BaseException) -> str:
    """Fail for the first and the last time; what is written about it."""
    await layer.send("jobs", {"n": 1})
    for _ in range(2):
        with pytest.raises(type(error)):
            async with layer.delivery("jobs"):
                raise error
    (letter,) = await layer.dead_letters.list("jobs")
    return letter.error


def with_a_note(error: Exception) -> Exception:
    error.add_note("while the bank was asked")
    return error


class Mute(Exception):
    """One that cannot say what it is about."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("cannot open " + os.fsdecode(b"caf\xe9.png")), r"ValueError: cannot open caf\udce9.png"),
        (with_a_note(TimeoutError("no answer")), "TimeoutError: no answer"),
        (ValueError("one\ntwo\x1b[31m"), r"ValueError: one\ntwo\x1b[31m"),
        (Mute(), f"{__name__}.Mute: <exception str() failed>"),
        (ValueError("\x00" * 1000), "ValueError: " + r"\x00" * 122),
    ],
    ids=["not to be encoded", "with a note", "several lines", "no text", "long"],
)
async def test_whatever_a_handler_raises_is_told_on_one_line(
    layer: RedisChannelLayer, error: Exception, told: str
) -> None:
    assert await fail(layer, error) == told


async def test_a_handler_that_ends_its_process_has_failed(layer: RedisChannelLayer) -> None:
    """Else a message that makes every worker exit would come again for ever."""
    await layer.send("jobs", {"n": 1})

    async def handle() -> None:
        with suppress(SystemExit):  # which would end the event loop of this test, too
            async with layer.delivery("jobs"):
                sys.exit(3)

    for _ in range(2):
        await handle()
    (letter,) = await layer.dead_letters.list("jobs")
    assert (letter.error, letter.deliveries) == ("SystemExit: 3", 2)


# Receivers that come and go


async def test_who_receives_again_while_the_channel_is_released_is_woken(
    layer: RedisChannelLayer, make_queue: MakeQueue, keys: QueueKeys, redis_url: str
) -> None:
    other = make_queue()
    await other.send("jobs", {"n": 1})
    handler = Handler(layer)
    await handler.has_it()
    releasing = asyncio.create_task(layer.release_channel("jobs"))
    await asyncio.sleep(0)
    assert await layer.receive("jobs") == {"n": 1}, "it was given back"
    await releasing
    waiting = asyncio.create_task(layer.receive("jobs"))
    with Redis.from_url(redis_url) as admin:

        def listening() -> Any:
            return admin.execute_command("PUBSUB", "SHARDNUMSUB", keys.wake("jobs"))[1]

        await until(listening)
        await asyncio.sleep(0.1)  # it stays so
        assert listening() == 1
    await other.send("jobs", {"n": 2})
    assert await waiting == {"n": 2}
    await handler.cancel()


@pytest.mark.parametrize("end", ["close", "release_channel"])
async def test_who_receives_no_more_is_on_no_list_of_the_server(
    layer: RedisChannelLayer, keys: QueueKeys, redis_url: str, end: str
) -> None:
    await layer.send("jobs", {"n": 1})
    assert await layer.receive("jobs") == {"n": 1}
    with Redis.from_url(redis_url) as admin:
        lists = (keys.shared("jobs").leases, keys.shared("jobs").requests)
        assert [admin.hlen(key) for key in lists] == [1, 1]
        await (layer.close() if end == "close" else layer.release_channel("jobs"))
        assert [admin.hlen(key) for key in lists] == [0, 0]


# A close that nobody waits for


async def test_a_close_that_is_cancelled_is_carried_out(layer: RedisChannelLayer) -> None:
    for turns in range(1, 20):
        await layer.group_add("room", await layer.new_channel())
        await layer.send("jobs", {"n": turns})
        assert await layer.receive("jobs") == {"n": turns}
        closing = asyncio.create_task(layer.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        await layer.close()
        await until(lambda: not [task for task in asyncio.all_tasks() if "fast-channels" in task.get_name()])
