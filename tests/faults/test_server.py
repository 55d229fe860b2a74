"""The server dies, stands still, or throws its clients out."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Subscriptions
from fast_channels.testing.server import ServerProcess
from tests.faults.traffic import GROUP, Traffic, every
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

EVER = 3600.0


@pytest.fixture
def nothing_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protection off: a new connection is told nothing of what was subscribed."""

    async def on_connect(self: Subscriptions, connection: Connection) -> None:
        if self.link.reconnections + self.link.disconnections == 0:
            await restore(self, connection)

    restore = Subscriptions.on_connect
    monkeypatch.setattr(Subscriptions, "on_connect", on_connect)


@pytest.fixture
def gaps_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protection off: subscriptions come back, and nobody is told."""

    def nothing(self: RedisPubSubChannelLayer, *args: object) -> None:
        pass

    monkeypatch.setattr(RedisPubSubChannelLayer, "_went_down", nothing)
    monkeypatch.setattr(RedisPubSubChannelLayer, "_came_back", nothing)


# Killed and started again


async def die_and_live(server: ServerProcess, traffic: Traffic, timeout: float = PATIENCE) -> None:
    for _ in range(3):
        heard = traffic.heard()
        await asyncio.to_thread(server.kill)
        await until(lambda: traffic.sending.statistics().disconnections > traffic.sending.statistics().reconnections)
        await asyncio.to_thread(server.start)
        await until(lambda: traffic.heard() > heard + 50, timeout=timeout)  # noqa: B023


@both_loops
async def test_a_server_that_is_killed_and_started_again(server: ServerProcess) -> None:
    async with Traffic(server.url) as traffic:
        await die_and_live(server, traffic)
    assert traffic.broken() == []
    assert traffic.listener.count("gap") == 3
    assert traffic.outcomes()["acknowledged"] > 100


@pytest.mark.usefixtures("nothing_is_restored")
async def test_twin_without_subscribing_again_nothing_is_heard_any_more(server: ServerProcess) -> None:
    async with Traffic(server.url, settle=1) as traffic:
        with pytest.raises(AssertionError):
            await die_and_live(server, traffic, timeout=2)
    assert any("missing without a word" in complaint for complaint in traffic.broken())


@pytest.mark.usefixtures("gaps_are_silent")
async def test_twin_without_reports_the_loss_is_silent(server: ServerProcess) -> None:
    async with Traffic(server.url) as traffic:
        await die_and_live(server, traffic)
        await lose_one(server, traffic)
    assert any("missing without a word" in complaint for complaint in traffic.broken())


async def lose_one(server: ServerProcess, traffic: Traffic) -> None:
    """Something is published for certain while the listener cannot hear."""
    with Redis(port=server.port) as admin:
        while traffic.outcomes()["acknowledged"] - traffic.heard() < 5:
            admin.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.01)


# Stopped for a while


class Observed:
    """What somebody who waits for a server noticed, and when."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.unheard: float | None = None
        self.unsent: float | None = None

    async def look(self, traffic: Traffic, seconds: float) -> None:
        while time.monotonic() < self.began + seconds:
            now = time.monotonic() - self.began
            if self.unheard is None and traffic.listener.count("down"):
                self.unheard = now
            if self.unsent is None and traffic.outcomes()["unknown"] + traffic.outcomes()["unreachable"]:
                self.unsent = now
            await asyncio.sleep(0.01)


async def stand_still(server: ServerProcess, traffic: Traffic, seconds: float) -> Observed:
    server.pause()
    observed = Observed()
    await observed.look(traffic, seconds)
    server.resume()
    return observed


@pytest.mark.faults
async def test_a_server_that_stands_still_for_14_seconds(server: ServerProcess) -> None:
    async with Traffic(server.url, patience=Patience()) as traffic:
        observed = await stand_still(server, traffic, 14)
    assert observed.unheard is not None
    assert observed.unheard < 5 + 2, "both the listener and the senders know in time"
    assert observed.unsent is not None
    assert observed.unsent < 5 + 2
    assert traffic.broken() == []
    assert traffic.listener.count("gap") == 1
    gap = traffic.hearing.last_gap
    assert gap is not None
    assert gap.seconds > 12, "the gap began when the server fell silent"


@pytest.mark.faults
async def test_twin_without_pings_a_server_that_stands_still_is_never_noticed(server: ServerProcess) -> None:
    async with Traffic(server.url, patience=Patience(ping_every=EVER)) as traffic:
        observed = await stand_still(server, traffic, 14)
    assert observed.unheard is None
    assert observed.unsent is None


async def test_a_server_that_stands_still_and_little_patience(server: ServerProcess) -> None:
    """The same at a tenth of the time."""
    async with Traffic(server.url, patience=Patience(send=0.5, ping_every=0.2, answer=0.3)) as traffic:
        observed = await stand_still(server, traffic, 3)
    assert observed.unheard is not None
    assert observed.unsent is not None
    assert traffic.broken() == []


# Connections killed


async def be_killed(server: ServerProcess, traffic: Traffic, seconds: float) -> int:
    """Kill every connection ten times a second; how many messages arrived meanwhile."""
    heard = traffic.heard()
    with Redis(port=server.port) as admin:
        async with every(0.1, lambda: admin.client_kill_filter(skipme=True)):
            await asyncio.sleep(seconds)
    return traffic.heard() - heard


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.faults)])
async def test_connections_that_are_killed_ten_times_a_second(server: ServerProcess, seconds: int) -> None:
    async with Traffic(server.url) as traffic:
        heard = await be_killed(server, traffic, seconds)
    assert traffic.broken() == []
    assert traffic.listener.count("gap") >= 2
    assert heard > 0 or seconds < 10, "something gets through even so"


@pytest.mark.usefixtures("nothing_is_restored")
async def test_twin_connections_that_are_killed_and_not_restored(server: ServerProcess) -> None:
    async with Traffic(server.url, settle=1) as traffic:
        await be_killed(server, traffic, 1)
    assert any("missing without a word" in complaint for complaint in traffic.broken())


@pytest.mark.usefixtures("gaps_are_silent")
async def test_twin_connections_that_are_killed_silently(server: ServerProcess) -> None:
    async with Traffic(server.url) as traffic:
        await be_killed(server, traffic, 1)
        await lose_one(server, traffic)
    assert any("missing without a word" in complaint for complaint in traffic.broken())


# The server's patience with a slow reader


@pytest.fixture
def impatient() -> Iterator[ServerProcess]:
    with ServerProcess(config={"client-output-buffer-limit": "pubsub 256kb 128kb 1"}) as server:
        yield server


async def overflow(server: ServerProcess, proxy: Proxy, traffic: Traffic) -> None:
    """The listener's process reads nothing for a while; the server has no room for what it should hear."""
    proxy.stop_reading("server")
    with Redis(port=server.port) as admin:
        closed = admin.info("stats")["client_output_buffer_limit_disconnections"]
        while admin.info("stats")["client_output_buffer_limit_disconnections"] == closed:
            for _ in range(20):
                await traffic.sending.group_send(GROUP, {"from": "bulk", "number": 0, "bulk": "x" * 50_000})
            await asyncio.sleep(0)
    proxy.forward()


async def test_a_listener_that_the_server_throws_out_because_it_is_slow(impatient: ServerProcess) -> None:
    with Proxy(impatient.port) as proxy:
        async with Traffic(proxy.url, impatient.url) as traffic:
            await overflow(impatient, proxy, traffic)
            await until(lambda: traffic.listener.count("gap"))
        missing = traffic.outcomes()["acknowledged"] - len(traffic.listener.log)
        assert traffic.broken() == []
        assert missing > 0, "something was lost, and it was said"


@pytest.mark.usefixtures("gaps_are_silent")
async def test_twin_a_listener_that_is_thrown_out_silently(impatient: ServerProcess) -> None:
    with Proxy(impatient.port) as proxy:
        async with Traffic(proxy.url, impatient.url) as traffic:
            await overflow(impatient, proxy, traffic)
            await lose_one(impatient, traffic)
    assert any("missing without a word" in complaint for complaint in traffic.broken())
