"""Channels of an event loop that is closed, on the queue: the next loop takes them over, also after a close."""

import asyncio
from uuid import uuid4

from fast_channels.layers.redis import RedisChannelLayer
from tests.support.waiting import PATIENCE


def test_a_channel_that_was_taken_over_is_received_on_after_the_layer_was_closed(redis_url: str) -> None:
    layer = RedisChannelLayer([redis_url], prefix=f"test-{uuid4().hex[:12]}")

    async def first() -> str:
        return await layer.new_channel()

    async def second(channel: str) -> None:
        await layer.send(channel, {"number": 1})
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"number": 1}
        await layer.close()
        receiving = asyncio.create_task(layer.receive(channel))
        while not layer.statistics().sent > 1 or not receiving.done():
            await layer.send(channel, {"number": 2})  # until the inbox is known again, it is counted as gone
            await asyncio.wait({receiving}, timeout=0.05)
        assert receiving.result() == {"number": 2}
        await layer.close()

    asyncio.run(second(asyncio.run(first())))
