"""All at once: whatever can break for less than a lease breaks at random, and nothing is lost, doubled or overtaken."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from redis import Redis

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene
from tests.support.proxy import Proxy

SECONDS = 12.0


class Breaker:
    """What breaks: two ways to a server, and the server itself."""

    def __init__(self, server: ServerProcess, chance: random.Random, *proxies: Proxy) -> None:
        self.server = server
        self.chance = chance
        self.proxies = proxies
        self.admin = Redis(port=server.port, socket_timeout=5)
        self.ways: list[Callable[[], Awaitable[object]]] = [
            self.cut, self.reset, self.drop, self.tear, self.delay, self.kill, self.forget_scripts, self.stall
        ]  # fmt: skip

    async def go_on(self, seconds: float) -> None:
        """Break something, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.chance.choice(self.ways)()
            await asyncio.sleep(self.chance.random() * 0.3)
        for proxy in self.proxies:
            proxy.forward()

    @property
    def proxy(self) -> Proxy:
        return self.chance.choice(self.proxies)

    async def cut(self) -> None:
        self.proxy.cut()

    async def reset(self) -> None:
        self.proxy.cut(reset=True)

    async def drop(self) -> None:
        self.proxy.drop_reply(self.chance.randrange(1, 4))

    async def tear(self) -> None:
        self.proxy.cut_reply_after(self.chance.randrange(1, 300))

    async def delay(self) -> None:
        proxy = self.proxy
        proxy.delay(0.02)
        await asyncio.sleep(0.2)
        proxy.forward()

    async def kill(self) -> None:
        self.admin.client_kill_filter(skipme=True)

    async def forget_scripts(self) -> None:
        self.admin.script_flush()

    async def stall(self) -> None:
        self.server.pause()
        await asyncio.sleep(self.chance.random())
        self.server.resume()


async def break_everything(server: ServerProcess, scene: Scene) -> None:
    """Two workers, one who receives, an owner in a group, and a sender to each."""
    with Proxy(server.port) as near, Proxy(server.port) as far:
        scene.work("w0", url=near.url, retry_delay=0.1)
        scene.work("w1", url=far.url, retry_delay=0.1)
        scene.work("r", "received", url=far.url, naively=True)
        owned = await scene.own("o", "room", url=near.url)
        scene.members = {"room": [owned]}
        to_jobs, to_received, to_owned, to_room = (
            scene.sender(f"to {name}", url=proxy.url)
            for name, proxy in {"jobs": near, "received": near, "owned": far, "room": far}.items()
        )
        breaker = Breaker(server, random.Random(7), near, far)
        async with (
            to_jobs.load("jobs", 0.003),
            to_received.load("received", 0.003),
            to_owned.load(owned, 0.003),
            to_room.load("room", 0.003, group=True),
        ):
            await breaker.go_on(SECONDS)
        breaker.admin.close()
        await scene.all_handled()
        verdict = scene.judge()
        assert verdict.once_in_order() == []
        for sender in (to_jobs, to_received, to_owned, to_room):
            assert sender.outcomes["acknowledged"] > 20
        await scene.stop()


@pytest.mark.faults
async def test_nothing_is_lost_doubled_or_overtaken_while_everything_breaks_for_a_moment(
    everywhere: Everywhere,
) -> None:
    await everywhere(break_everything)
