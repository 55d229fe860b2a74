"""Who dies is buried, with all that it leaves; who lives is not, whatever its server does."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, held, pulse, shared, stream_inbox, undertaker
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Link, LinkEvents
from fast_channels.layers.redis.scripts import KEEP, LEASE_SCRIPT, Script, run
from fast_channels.layers.redis.topology import Endpoint
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import QUIET, MakeQueue
from tests.support.proxy import Proxy
from tests.support.waiting import until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are over soon."""
    for module in (held, shared, stream_inbox, undertaker):
        monkeypatch.setattr(module, "LEASE", 500)
    monkeypatch.setattr(pulse, "BEAT", 0.05)


def leases(layer: RedisChannelLayer, admin: "Redis") -> set[object]:
    ends, _ = QueueKeys(layer.prefix).leases()
    return set(admin.zrange(ends, 0, -1))


def members(layer: RedisChannelLayer, admin: "Redis", group: str = "room") -> list[object]:
    return list(admin.zrange(QueueKeys(layer.prefix).group(group), 0, -1))


async def die(layer: RedisChannelLayer) -> None:
    """Give no sign of life any more and read nothing, as a process that is killed or blocked."""
    hub = layer._here()
    hub._pulse.stop()
    for inbox in hub.inboxes.values():
        await inbox._link.close()


async def member(layer: RedisChannelLayer, *groups: str) -> str:
    channel = await layer.new_channel()
    for group in groups:
        await layer.group_add(group, channel)
    return channel


# The dead


async def test_the_dead_leave_their_groups_and_what_they_did_not_read_is_counted(
    make_queue: MakeQueue, admin: "Redis", quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = make_queue(), make_queue()
    channel = await member(dead, "room", "hall")
    await member(alive, "room")
    await until(lambda: len(leases(alive, admin)) == 2)
    await die(dead)
    for n in range(3):
        await alive.send(channel, {"n": n})
    for n in range(2):
        await alive.group_send("hall", {"n": n})
    await until(lambda: len(members(alive, admin)) == 1 and not members(alive, admin, "hall"))
    await until(lambda: leases(alive, admin) == {alive.client_prefix})
    assert alive.statistics().dropped == {"owner_gone": 5}
    assert f"the process of inbox {dead.client_prefix} is gone: 5 messages for it are lost, it leaves 2 groups" in (
        caplog.text
    )
    left = [key for key in admin.keys(f"{alive.prefix}|{{i:{dead.client_prefix}}}*") if "answered" not in str(key)]
    assert left == []
    await alive.send(channel, {"n": 9})
    assert alive.statistics().dropped == {"owner_gone": 5, "channel_gone": 1}


async def test_what_was_read_and_not_handed_over_is_counted_too(
    make_queue: MakeQueue, admin: "Redis", quick: None
) -> None:
    dead, alive = make_queue(), make_queue()
    channel = await member(dead)
    await member(alive)
    for n in range(3):
        await alive.send(channel, {"n": n})
    assert await dead.receive(channel) == {"n": 0}
    keys = QueueKeys(dead.prefix).inbox(dead.client_prefix)
    await until(lambda: admin.hget(keys.handed.decode(), channel) == "1" and not admin.xlen(keys.stream))
    await die(dead)
    await until(lambda: alive.statistics().dropped == {"owner_gone": 2})


async def test_several_that_live_bury_one_that_died_once(make_queue: MakeQueue, admin: "Redis", quick: None) -> None:
    dead, *living = [make_queue() for _ in range(4)]
    channel = await member(dead, "room")
    for layer in living:
        await member(layer, "room")
    await die(dead)
    await living[0].send(channel, {"n": 1})
    await until(lambda: len(members(dead, admin)) == 3 and len(leases(dead, admin)) == 3)
    assert sum(layer.statistics().dropped.get("owner_gone", 0) for layer in living) == 1


async def test_a_dead_process_without_an_inbox_is_struck_off_in_silence(
    make_queue: MakeQueue, admin: "Redis", quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = make_queue(), make_queue()
    receiving = asyncio.create_task(dead.receive("jobs"))
    await member(alive)
    await until(lambda: len(leases(alive, admin)) == 2)
    await die(dead)
    await until(lambda: leases(alive, admin) == {alive.client_prefix})
    assert "is gone" not in caplog.text
    receiving.cancel()


async def test_who_was_buried_alive_comes_back_with_all_its_memberships(
    make_queue: MakeQueue, admin: "Redis", quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, alive = make_queue(), make_queue()
    channel = await member(blocked, "room")
    await member(alive)
    before = members(alive, admin)
    blocked._here()._pulse.stop()
    await until(lambda: not members(alive, admin))
    blocked._here()._pulse.start()
    await until(lambda: members(alive, admin) not in ([], before), "it has another name")
    await until(lambda: len(members(alive, admin)) == 1)
    await alive.group_send("room", {"n": 1})
    assert await blocked.receive(channel) == {"n": 1}
    assert f"had lost inbox {blocked.client_prefix}: made again, with 1 groups" in caplog.text


async def test_who_closes_needs_no_burial(make_queue: MakeQueue, admin: "Redis", quick: None) -> None:
    layer, alive = make_queue(), make_queue()
    await member(layer, "room")
    await member(alive, "room")
    await layer.close()
    assert leases(alive, admin) == {alive.client_prefix}
    assert len(members(alive, admin)) == 1
    await layer.close()


MEMBER = """
import asyncio, sys
from fast_channels.layers.redis import RedisChannelLayer

async def main():
    layer = RedisChannelLayer([sys.argv[1]], prefix=sys.argv[2])
    channels = [await layer.new_channel() for _ in range(50)]
    for channel in channels:
        await layer.group_add("room", channel)
    print(channels[0], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def process_of(layer: RedisChannelLayer, url: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process with fifty members of a group, and the channel of one."""
    command = [sys.executable, "-c", MEMBER, url, layer.prefix]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


async def test_with_the_real_lease_nothing_is_left_of_a_process_that_is_killed_within_fifteen_seconds(
    make_queue: MakeQueue, admin: "Redis", redis_url: str
) -> None:
    alive = make_queue()
    await member(alive)
    with process_of(alive, redis_url) as (process, channel):
        process.send_signal(signal.SIGKILL)
        begun = time.monotonic()
        await alive.send(channel, {"n": 1})
        await until(lambda: not members(alive, admin))
        assert time.monotonic() - begun < 15
        assert alive.statistics().dropped == {"owner_gone": 1}


# The living


class Village:
    """Some processes with an inbox and a membership each, whose server stands still for longer than a lease.

    One loses its connection meanwhile, and is back a moment later than the others.
    """

    def __init__(self, make_queue: MakeQueue, server: ServerProcess, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.late = make_queue(QUIET, hosts=[proxy.url])
        self.layers = [self.late, *(make_queue(QUIET, hosts=[server.url]) for _ in range(4))]

    async def live_through_a_stop(self, admin: "Redis") -> None:
        for layer in self.layers:
            await member(layer, "room")
        await until(lambda: len(leases(self.late, admin)) == len(self.layers))
        await asyncio.sleep(1.25)  # more than a lease: who would bury has had its time
        self.proxy.blackhole()
        self.server.pause()
        await asyncio.sleep(1.25)
        self.server.resume()
        await asyncio.sleep(0.3)
        self.proxy.forward()
        self.proxy.cut()
        await until(lambda: self.late.statistics().reconnections)


@pytest.fixture
async def village(
    own_server: ServerProcess, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Village]:
    for module in (stream_inbox, undertaker):
        monkeypatch.setattr(module, "LEASE", 1000)
    monkeypatch.setattr(pulse, "BEAT", 0.05)
    with Proxy(own_server.port) as proxy:
        village = Village(make_queue, own_server, proxy)
        yield village
        await village.late.close()


async def test_a_server_that_stood_still_buries_nobody_who_lives(
    village: Village, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis(port=village.server.port, decode_responses=True) as admin:
        await village.live_through_a_stop(admin)
        await asyncio.sleep(1.5)
        assert len(members(village.late, admin)) == 5
    assert "is gone" not in caplog.text
    assert "had lost" not in caplog.text


async def test_twin_without_the_rule_of_unbroken_runs_somebody_is_buried_alive(
    village: Village, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(undertaker, "LEASE_SCRIPT", without(LEASE_SCRIPT, b"if now - run < tonumber(ARGV[2]) then"))
    with Redis(port=village.server.port, decode_responses=True) as admin:
        await village.live_through_a_stop(admin)
    assert f"the process of inbox {village.late.client_prefix} is gone" in caplog.text


def without(script: Script, rule: bytes) -> Script:
    """The script with a condition that is never true."""
    weak = Script(script.name)
    weak._text = weak._text.replace(rule, b"if false then")
    assert weak._text != script._text
    weak._sha = b"0" * 40  # it is sent whole each time
    return weak


@pytest.fixture
async def link(endpoint: Endpoint) -> AsyncIterator[Link]:
    link = Link(endpoint, LinkEvents(), QUIET)
    yield link
    await link.close()


LEASE = 300


async def test_who_was_silent_for_half_a_lease_names_nobody_before_a_whole_one_is_over(
    link: Link, make_queue: MakeQueue
) -> None:
    keys = QueueKeys(make_queue().prefix).leases()
    await run(link, LEASE_SCRIPT, keys, "dead", 1, 16)

    async def named() -> bool:
        return bool(await run(link, LEASE_SCRIPT, keys, "me", LEASE, 16))

    for _ in range(2):
        begun = time.monotonic()
        while not await named():
            await asyncio.sleep(0.02)
        assert time.monotonic() - begun > 0.9 * LEASE / 1000
        await asyncio.sleep(0.6 * LEASE / 1000)  # its lease is not over


async def test_who_was_silent_for_half_a_lease_gives_nothing_back_before_a_whole_one_is_over(
    link: Link, make_queue: MakeQueue, admin: "Redis"
) -> None:
    keys = QueueKeys(make_queue().prefix).shared("jobs")

    async def gives_back() -> bool:
        admin.hset(keys.held, "1", "dead")
        admin.hset(keys.states, "1", "1:0:1")
        _, _, given_back, *_ = await run(link, KEEP, keys[:9], "me", LEASE, 5, 100, "nobody")
        return bool(given_back)

    for _ in range(2):
        begun = time.monotonic()
        while not await gives_back():
            await asyncio.sleep(0.02)
        assert time.monotonic() - begun > 0.9 * LEASE / 1000
        await asyncio.sleep(0.6 * LEASE / 1000)  # its lease is not over
