"""What lies between a process and its server breaks: connections, replies, and the patience of who waits."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.exceptions import OutcomeUnknown
from fast_channels.layers.redis import RedisPubSubChannelLayer, connection
from fast_channels.layers.redis.link import Patience
from fast_channels.testing.server import ServerProcess
from tests.faults.promise import Sender, broken
from tests.faults.traffic import GROUP, Traffic, to_channel, to_group, with_patience
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

EVER = 3600.0
SHORT = Patience(send=1.0, ping_every=0.1, answer=0.3)
HASTE = "?socket_connect_timeout=1"
"""Whoever connects into a black hole waits no longer than this."""


async def closed(proxy: Proxy) -> None:
    proxy.close()
    await asyncio.sleep(0.1)
    proxy.forward()


async def swallowing(proxy: Proxy) -> None:
    proxy.blackhole()
    await asyncio.sleep(0.6)
    proxy.forward()


async def slow(proxy: Proxy) -> None:
    proxy.delay(0.05)
    await asyncio.sleep(0.2)
    proxy.forward()


def at_once(do: Callable[[Proxy], None]) -> Callable[[Proxy], Any]:
    async def fault(proxy: Proxy) -> None:
        do(proxy)

    return fault


FAULTS = {
    "cut": at_once(lambda proxy: proxy.cut()),
    "reset": at_once(lambda proxy: proxy.cut(reset=True)),
    "a lost reply": at_once(lambda proxy: proxy.drop_reply()),
    "a reply cut after 3 bytes": at_once(lambda proxy: proxy.cut_reply_after(3)),
    "a reply cut after 100 bytes": at_once(lambda proxy: proxy.cut_reply_after(100)),
    "closed": closed,
    "a black hole": swallowing,
    "delay": slow,
}


@pytest.mark.parametrize("side", ["listener", "sender"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_one_fault_again_and_again(server: ServerProcess, fault: str, side: str) -> None:
    with Proxy(server.port) as proxy:
        url = proxy.url + HASTE
        sides = {"listener": (url, server.url), "sender": (server.url, url)}
        async with Traffic(*sides[side], patience=SHORT) as traffic:
            layer = traffic.hearing if side == "listener" else traffic.sending
            for outages in range(1, 4):
                await FAULTS[fault](proxy)
                if fault != "delay":
                    await until(lambda: layer.statistics().disconnections >= outages)  # noqa: B023
                heard = traffic.heard()
                await until(lambda: traffic.heard() > heard + 10)  # noqa: B023
        assert traffic.broken() == []


@both_loops
async def test_all_faults_on_both_sides(server: ServerProcess) -> None:
    chance = random.Random(3)
    with Proxy(server.port) as near, Proxy(server.port) as far:
        async with Traffic(near.url + HASTE, far.url + HASTE, patience=SHORT) as traffic:
            for _ in range(10):
                await FAULTS[chance.choice(list(FAULTS))](chance.choice([near, far]))
                await asyncio.sleep(chance.random() * 0.2)
            near.forward()
            far.forward()
        assert traffic.broken() == []
        assert traffic.listener.count("gap") > 0
        assert traffic.outcomes()["acknowledged"] > 50


async def persistently(layer: RedisPubSubChannelLayer, channel: str, message: dict[str, Any]) -> None:
    """The protection off: what redis-py's own retry does."""
    for _ in range(5):
        try:
            return await to_group(layer, channel, message)
        except OutcomeUnknown:
            continue
    return None


async def test_twin_a_sender_that_tries_again_doubles_messages(server: ServerProcess) -> None:
    with Proxy(server.port) as proxy:
        publish = {"group": persistently, "channel": to_channel}
        async with Traffic(server.url, proxy.url, patience=SHORT, publish_to=publish) as traffic:
            for _ in range(5):
                heard = traffic.heard()
                proxy.drop_reply()
                await until(lambda: traffic.heard() > heard + 10)  # noqa: B023
        assert any("arrived 2 times" in complaint for complaint in traffic.broken())


# A server that does not read

LARGE = "x" * 32_000
MANY = 1500


class Bulk:
    """Much at once for a server that stands still: how much of it a process holds, and what becomes of it."""

    def __init__(self, layer: RedisPubSubChannelLayer) -> None:
        self.layer = layer
        self.sender = Sender("bulk")
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        self.tasks = [asyncio.create_task(self.sender.send(self._publish)) for _ in range(MANY)]

    def held(self) -> int:
        """Bytes of what is neither sent nor refused."""
        return sum(not task.done() for task in self.tasks) * len(LARGE)

    async def _publish(self, message: dict[str, Any]) -> None:
        await self.layer.group_send(GROUP, {**message, "bulk": LARGE})


@both_loops
async def test_a_server_that_does_not_read_costs_no_more_than_is_allowed(server: ServerProcess) -> None:
    patience = Patience(send=1.0, ping_every=EVER, bytes=4 * 1024 * 1024)
    async with Traffic(server.url, patience=patience) as traffic:
        bulk = Bulk(with_patience(RedisPubSubChannelLayer([server.url]), patience))
        await bulk.layer.group_send(GROUP, {"from": "nobody", "number": 0})
        server.pause()
        bulk.start()
        await until(lambda: bulk.held() < 25e6, "4 MiB wait, 4 MiB are written, the rest is the system's")
        await until(lambda: any("unreachable" in sent.outcome for sent in bulk.sender.sent))
        server.resume()
        await asyncio.gather(*bulk.tasks)
    assert traffic.broken() == []
    assert broken(bulk.sender, traffic.listener) == []
    assert bulk.layer.statistics().disconnections == 0
    await bulk.layer.close()


async def test_twin_without_limits_everything_is_held(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_BUFFER", 1 << 40)
    patience = Patience(send=PATIENCE, ping_every=EVER, bytes=1 << 40, commands=1 << 40)
    bulk = Bulk(with_patience(RedisPubSubChannelLayer([server.url]), patience))
    await bulk.layer.group_send(GROUP, {"from": "nobody", "number": 0})
    server.pause()
    bulk.start()
    await asyncio.sleep(1)
    assert bulk.held() > 40e6
    server.resume()
    await asyncio.gather(*bulk.tasks)
    await bulk.layer.close()
