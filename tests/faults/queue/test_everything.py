"""All at once: whatever can break for less than a lease breaks at random, and nothing is lost, doubled or overtaken."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest
from redis import Redis

from fast_channels.layers.dead_letters import DeadLetter
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE

SECONDS = 8.0


class Breaker:
    """What breaks: two ways to a server, and the server itself."""

    def __init__(self, server: ServerProcess, chance: random.Random, *proxies: Proxy) -> None:
        self.server = server
        self.chance = chance
        self.proxies = proxies
        self.ways: list[Callable[[], Awaitable[object]]] = [
            self.cut, self.reset, self.drop, self.tear, self.delay, self.kill, self.forget_scripts, self.stall, self.die
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
        with Redis(port=self.server.port) as admin:
            admin.client_kill_filter(skipme=True)

    async def forget_scripts(self) -> None:
        with Redis(port=self.server.port) as admin:
            admin.script_flush()

    async def stall(self) -> None:
        self.server.pause()
        await asyncio.sleep(self.chance.random())
        self.server.resume()

    async def die(self) -> None:
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)


async def break_everything(server: ServerProcess, scene: Scene) -> None:
    """Two workers, one who receives, an owner in a group, two who cannot handle anything, and a sender to each."""
    with Proxy(server.port) as near, Proxy(server.port) as far:
        scene.work("w0", url=near.url, retry_delay=0.1)
        scene.work("w1", url=far.url, retry_delay=0.1)
        scene.work("f0", "failing", url=near.url, retry_delay=0.05)
        scene.work("f1", "failing", url=far.url, retry_delay=0.05)
        scene.work("r", "received", url=far.url, naively=True)
        owned = await scene.own("o", "room", url=near.url)
        scene.members = {"room": [owned]}
        to_jobs, to_received, to_owned, to_room = (
            scene.sender(f"to {name}", url=proxy.url)
            for name, proxy in {"jobs": near, "received": near, "owned": far, "room": far}.items()
        )
        to_failing = scene.sender("to failing", url=near.url)
        breaker = Breaker(server, random.Random(7), near, far)
        async with (
            to_jobs.load("jobs", 0.003),
            to_received.load("received", 0.003),
            to_owned.load(owned, 0.003),
            to_room.load("room", 0.003, group=True),
            to_failing.load("failing", 0.05, poison=True),
        ):
            await breaker.go_on(SECONDS)
        dead = await all_dead(scene)
        await scene.all_handled(lambda sent: sent.channel == "failing")
        verdict = scene.judge(destroyed=lambda sent: sent.channel == "failing")
        assert [complaint for complaint in verdict.once_in_order() if "'failing'" not in complaint] == []
        assert sorted(letter.message["number"] for letter in dead) == sorted(
            number for _, _, number in scene.ledger.keys("acknowledged", channel="failing")
        )
        assert {letter.deliveries for letter in dead} == {5}
        for sender in (to_jobs, to_received, to_owned, to_room, to_failing):
            assert sender.outcomes["acknowledged"] > 5
        await scene.stop()


async def all_dead(scene: Scene) -> Sequence[DeadLetter]:
    """The dead letters, when there are as many as there should be, or time is up."""
    layer = cast("RedisChannelLayer", scene.layer())
    letters: Sequence[DeadLetter] = []
    end = time.monotonic() + PATIENCE
    while len(letters) < scene.ledger.count("acknowledged", channel="failing") and time.monotonic() < end:
        letters = await layer.dead_letters.list("failing", count=10_000)
        await asyncio.sleep(0.1)
    return letters


@pytest.mark.faults
async def test_nothing_is_lost_doubled_or_overtaken_while_everything_breaks_for_a_moment(
    everywhere: Everywhere,
) -> None:
    await everywhere(break_everything, appendonly="yes", appendfsync="always")
