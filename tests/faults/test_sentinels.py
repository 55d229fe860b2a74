"""A master dies, is demoted, or is cut off from its replica, and Sentinels make another one: both layers at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer, link, topology
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.topology import Endpoint
from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary
from tests.faults.queue.failover import Failover
from tests.faults.queue.scene import Scene, eventually
from tests.faults.traffic import Traffic
from tests.support.sentinels import Trio
from tests.support.waiting import until

pytestmark = [
    pytest.mark.skipif(find_server_binary() is None, reason=NO_SERVER),
    pytest.mark.faults,
]

IN_TIME = 10.0
"""Seconds within which everything is back."""

BOTH = {"RedisChannelLayer", "RedisPubSubChannelLayer"}

SENDERS = ("to jobs", "to owned", "to room")


ACCEPTED = b"$1\r\n1\r\n"
"""The answer to a message."""


async def ask_nobody(self: Endpoint, connection: Connection) -> None:
    """In the place of `Endpoint.another_master`."""


class Both:
    """The queue and pub/sub under load, on the same Sentinels."""

    def __init__(self, trio: Trio, failover: Failover, scene: Scene, traffic: Traffic) -> None:
        self.trio = trio
        self.failover = failover
        self.scene = scene
        self.traffic = traffic

    async def is_back(self, timeout: float = IN_TIME) -> float:
        """Wait until messages arrive everywhere again; the seconds since it broke."""
        heard = self.traffic.heard()
        await eventually(lambda: all(map(self.arrives, SENDERS)), timeout=timeout)
        await eventually(lambda: self.traffic.heard() > heard + 20, timeout=timeout)
        return time.monotonic() - self.failover.broke

    def arrives(self, sender: str) -> bool:
        """Whether something of it did that was sent after the fault, or at all if there was none yet."""
        broke = self.failover.broke if self.failover.broke < float("inf") else 0.0
        since = {line.number for line in self.scene.ledger.lines("acknowledged") if line.began > broke}
        return any(line.sender == sender and line.number in since for line in self.scene.ledger.lines("end"))

    def broken(self) -> list[str]:
        """The promises that were broken."""
        return [*self.failover.broken(), *self.traffic.broken()]


@asynccontextmanager
async def both(trio: Trio, folder: Path, **options: Any) -> AsyncIterator[Both]:
    async with Scene(trio.host, folder) as scene, Traffic(trio.host) as traffic:
        scene.work(**options)
        owned = await scene.own("o", "room", layer=scene.layer(**options))
        scene.members = {"room": [owned]}
        failover = Failover(scene, loses=options.get("durability") != "replicated")
        everything = Both(trio, failover, scene, traffic)
        senders = [scene.sender(f"to {to}", **options) for to in ("jobs", "owned", "room")]
        async with senders[0].load("jobs"), senders[1].load(owned), senders[2].load("room", group=True):
            await until(lambda: all(map(everything.arrives, SENDERS)))
            yield everything
        await scene.all_handled(failover.may_be_lost)


# Killed


async def kill_master(everything: Both, timeout: float = IN_TIME) -> float:
    trio = everything.trio
    await everything.failover.kill(trio.replicated(), trio.master.kill)
    return await everything.is_back(timeout)


async def test_both_layers_are_back_within_10_seconds_after_their_master_was_killed(tmp_path: Path) -> None:
    with Trio() as trio:
        async with both(trio, tmp_path) as everything:
            print(f"back after {await kill_master(everything):.1f} s")
        assert everything.broken() == []
        assert everything.traffic.listener.count("gap") == 1


async def test_nothing_that_was_acknowledged_dies_with_the_master_of_a_replicated_queue(tmp_path: Path) -> None:
    with Trio(replicas=2) as trio:
        async with both(trio, tmp_path, durability="replicated") as everything:
            print(f"back after {await kill_master(everything):.1f} s")
        assert everything.failover.broken() == []


async def die_before_the_sender_is_told(trio: Trio, scene: Scene, *, replica_is_told: bool) -> None:
    """A master accepts a message, and hands it over to who owns the channel; its sender hears nothing."""
    owned = await scene.own()
    old, gate = trio.master, trio.gate_of(trio.master)
    sender = scene.sender("s", send_timeout=60.0)
    await sender.send(owned)
    await scene.all_handled()
    await trio.replicated()
    if not replica_is_told:
        trio.isolate(old)
    gate.drop_reply(1_000_000, which=lambda reply: reply == ACCEPTED)
    sending = asyncio.create_task(sender.send(owned))
    await eventually(lambda: scene.ledger.count("end") == 2)
    if replica_is_told:
        await trio.replicated()
    assert not sending.done()
    await asyncio.to_thread(old.kill)
    assert await sending == "acknowledged"
    await sender.send(owned)
    await eventually(lambda: (owned, "s", 3) in scene.ledger.keys("end"))


async def test_what_neither_its_sender_nor_the_replica_was_told_of_comes_again(tmp_path: Path) -> None:
    with Trio(apart=True) as trio:
        async with Scene(trio.host, tmp_path) as scene:
            await die_before_the_sender_is_told(trio, scene, replica_is_told=False)
            assert list(scene.judge().doubled.values()) == [2]


async def test_what_the_replica_was_told_of_comes_once(tmp_path: Path) -> None:
    with Trio(apart=True) as trio:
        async with Scene(trio.host, tmp_path) as scene:
            await die_before_the_sender_is_told(trio, scene, replica_is_told=True)
            assert scene.judge().once_in_order() == []


# Demoted, and alive


@asynccontextmanager
async def listening(trio: Trio) -> AsyncIterator[set[str]]:
    """Both layers have a member of a group; gives the set of those that have heard something."""
    async with (
        RedisPubSubChannelLayer(**trio.options, send_timeout=1) as pubsub,
        RedisChannelLayer(**trio.options, send_timeout=1) as queue,
    ):
        channels = [(layer, await layer.new_channel()) for layer in (pubsub, queue)]
        for layer, channel in channels:
            await layer.group_add("room", channel)
        heard: set[str] = set()

        async def listen(layer: Any, channel: str) -> None:
            while True:
                await layer.receive(channel)
                heard.add(type(layer).__name__)

        async with asyncio.TaskGroup() as tasks:
            listeners = [tasks.create_task(listen(layer, channel)) for layer, channel in channels]
            yield heard
            for listener in listeners:
                listener.cancel()


async def lose_master(trio: Trio, lose: Callable[[ServerProcess], None], timeout: float) -> set[str]:
    """Somebody who comes after that sends to the new one: the layers, both there before, that hear it in time."""
    old = trio.master
    async with listening(trio) as heard:
        lose(old)
        await trio.failed_over(old)
        began = time.monotonic()
        async with (
            RedisPubSubChannelLayer(**trio.options) as pubsub,
            RedisChannelLayer(**trio.options) as queue,
        ):
            while len(heard) < 2 and time.monotonic() < began + timeout:
                await pubsub.group_send("room", {"type": "again"})
                await queue.group_send("room", {"type": "again"})
                await asyncio.sleep(0.05)
        print(f"{heard} back after {time.monotonic() - began:.1f} s")
        return heard


async def demote(trio: Trio, follows: str, timeout: float = IN_TIME) -> set[str]:
    """The master is made a replica while clients are connected, and nobody throws them out."""
    old = trio.master
    follower = asyncio.create_task(follow(trio, old, follows))
    heard = await lose_master(trio, trio.isolate, timeout)
    await follower
    with trio.redis(old) as client:
        assert "cmdstat_client|kill" not in client.info("commandstats")
    return heard


async def follow(trio: Trio, old: ServerProcess, whom: str) -> None:
    await trio.failed_over(old)
    trio.follow(old, trio.master if whom == "the new master" else None)


@pytest.mark.parametrize("follows", ["the new master", "nobody"])
async def test_a_master_that_is_demoted_and_lives_is_left(follows: str) -> None:
    with Trio(apart=True) as trio:
        assert await demote(trio, follows) == BOTH


async def test_twin_who_never_asks_stays_with_a_master_that_was_demoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "is_replica", lambda greeting: False)
    monkeypatch.setattr(Endpoint, "another_master", ask_nobody)
    with Trio(apart=True) as trio:
        heard = await demote(trio, "nobody", 5)
        assert "RedisPubSubChannelLayer" not in heard, "the queue is thrown out while it waits, pub/sub is not"


async def test_twin_who_asks_for_the_master_once_is_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[Any, Any] = {}

    async def locate(self: Endpoint, limit: float) -> Any:
        known[self] = known.get(self) or await ask(self, limit)
        return known[self]

    ask = Endpoint._locate
    monkeypatch.setattr(Endpoint, "_locate", locate)
    with Trio() as trio:
        assert await lose_master(trio, lambda old: old.kill(), 5) == set()


async def test_a_refused_write_is_the_reason_to_look_for_the_master() -> None:
    with Trio(apart=True) as trio:
        assert await write(trio) < 5


async def test_twin_without_it_the_next_ping_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_suspect", lambda self, answer: None)
    with Trio(apart=True) as trio:
        assert await write(trio) > 5


async def write(trio: Trio) -> float:
    """Send to a master that was demoted; the seconds until it is accepted by the new one."""
    patience = link.Patience(send=60.0, ping_every=14.0)
    old = trio.master
    async with RedisChannelLayer(**trio.options) as layer:
        layer._wiring = replace(layer._wiring, patience=patience)
        await layer.send("jobs", {"type": "job"})
        trio.isolate(old)
        await trio.failed_over(old)
        trio.follow(old, None)
        began = time.monotonic()
        await layer.send("jobs", {"type": "job"})
        return time.monotonic() - began


# Cut off from its replica and the Sentinels


async def test_a_partition_loses_what_only_the_old_master_had_and_nothing_that_was_replicated(tmp_path: Path) -> None:
    """The twin is in the same scene: the same fault, once with each durability."""
    with Trio(apart=True) as trio:
        async with Scene(trio.host, tmp_path) as scene:
            old = trio.master
            default = scene.sender("default")
            replicated = scene.sender("replicated", durability="replicated", send_timeout=1.0)
            async with default.load("default", 0.01), replicated.load("replicated", 0.01):
                await eventually(lambda: scene.ledger.count("acknowledged", channel="replicated") > 20)
                trio.isolate(old)
                await trio.failed_over(old)
                await asyncio.sleep(1)
                acknowledged = scene.ledger.count("acknowledged", channel="replicated")
                trio.rejoin(old)
                await eventually(lambda: scene.ledger.count("acknowledged", channel="replicated") > acknowledged + 30)
            for channel in ("default", "replicated"):
                scene.work(f"w {channel}", channel)
            scene.settle = 3.0
            await scene.all_handled()
            verdict = scene.judge()
            lost = [key for key in verdict.missing if key[0] == "default"]
            print(f"{len(lost)} of {scene.ledger.count('acknowledged', channel='default')} lost by default")
            assert lost, "the fault was none"
            assert [key for key in verdict.missing if key[0] == "replicated"] == []
            assert verdict.impossible == []
            assert replicated.outcomes["unknown"] > 0


async def heard_behind_a_partition(seconds: float) -> tuple[int, RedisPubSubChannelLayer]:
    """A listener that still reaches the old master, which is cut off; how many messages of a newcomer it hears."""
    with Trio(apart=True) as trio:
        async with (
            RedisPubSubChannelLayer(**trio.options) as listener,
            RedisPubSubChannelLayer(**trio.options) as sender,
        ):
            channel = await listener.new_channel()
            await listener.group_add("room", channel)
            old = trio.master
            trio.isolate(old)
            await trio.failed_over(old)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not listener.statistics().received:
                await sender.group_send("room", {"type": "news"})
                with suppress(TimeoutError):
                    await asyncio.wait_for(listener.receive(channel), 0.05)
            return listener.statistics().received, listener


async def test_who_hears_a_master_that_was_replaced_moves_and_reports_the_gap() -> None:
    heard, listener = await heard_behind_a_partition(topology.ASK_AGAIN + IN_TIME)
    assert heard
    assert listener.last_gap is not None
    assert "most Sentinels name another master" in listener.last_gap.reason
    assert listener.last_gap.seconds > 1


async def test_twin_who_asks_no_sentinel_again_hears_nothing_and_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "another_master", ask_nobody)
    heard, listener = await heard_behind_a_partition(topology.ASK_AGAIN + IN_TIME / 2)
    assert (heard, listener.last_gap) == (0, None)
