"""A process that is killed leaves no memberships: its subscriptions end with it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from fast_channels.layers.redis import RedisPubSubChannelLayer
from tests.support.waiting import until

MEMBER = """
import asyncio, sys
from fast_channels.layers.redis import RedisPubSubChannelLayer

async def main():
    layer = RedisPubSubChannelLayer([sys.argv[1]], prefix="killed")
    channels = [await layer.new_channel() for _ in range(50)]
    for channel in channels:
        await layer.group_add("room", channel)
    print(channels[0], flush=True)
    await layer.receive(channels[0])

asyncio.run(main())
"""


@contextmanager
def member(url: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process with fifty members of a group, and the channel of one."""
    process = subprocess.Popen([sys.executable, "-c", MEMBER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


async def test_a_process_that_is_killed_leaves_its_groups_at_once(redis_url: str, admin: Redis) -> None:
    with member(redis_url) as (process, channel):
        assert admin.pubsub_numsub("killed|g|room") == [("killed|g|room", 1)]
        process.send_signal(signal.SIGKILL)
        await until(lambda: not admin.pubsub_channels("killed|*"))
        async with RedisPubSubChannelLayer([redis_url], prefix="killed") as layer:
            await layer.send(channel, {"type": "too.late"})
            assert layer.statistics().dropped == {"no_receiver": 1}
