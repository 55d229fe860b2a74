"""Senders that race for the last places, and processes that do not agree what time it is."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

# A race

PROCESSES, TASKS, PLACES = 2, 50, 10


async def race(scene: Scene, channel: str = "jobs", **layer: object) -> Counter[str]:
    """A hundred senders, each with one message, in several processes; what became of the messages."""
    layer = {"capacity": PLACES, **layer}
    racers = [
        scene.run("sender", f"s{number}", channels=[channel], copies=TASKS, count=1, layer=layer)
        for number in range(PROCESSES)
    ]
    for racer in racers:
        assert await racer.line() == "ready"
    for racer in racers:
        racer.go()
    outcomes: Counter[str] = Counter()
    for racer in racers:
        outcomes.update(await racer.line())
    return outcomes


async def race_and_be_handled(server: ServerProcess, scene: Scene) -> None:
    assert await race(scene) == {"acknowledged": 10, "full": 90}
    scene.work()
    await scene.all_handled()
    assert scene.judge().once_in_order() == []


async def race_to_an_owner(server: ServerProcess, scene: Scene) -> None:
    """The owner takes no message out: they wait until somebody receives."""
    layer = scene.layer()
    channel = await layer.new_channel()
    assert await race(scene, channel) == {"acknowledged": 10, "full": 90}
    received = [await asyncio.wait_for(layer.receive(channel), 10) for _ in range(10)]
    got = {(channel, message["from"], message["number"]) for message in received}
    assert got == scene.ledger.keys("acknowledged")


async def test_of_a_hundred_senders_exactly_ten_get_the_ten_places(everywhere: Everywhere) -> None:
    await everywhere(race_and_be_handled)


async def test_the_same_for_a_channel_that_somebody_owns(everywhere: Everywhere) -> None:
    await everywhere(race_to_an_owner)


@on_valkey
async def test_twin_who_looks_first_and_adds_then_is_not_alone(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        assert (await race(scene, racing=TASKS))["acknowledged"] >= TASKS


# Clocks that differ

HOUR = 3600.0
KEYS = {"symmetric_encryption_keys": ["the same for all"], "expiry": 60}


async def live_at_different_times(scene: Scene, options: dict[str, object], naively: str = "") -> None:
    """Senders and workers of which each believes in another hour of the day."""
    for number, skew in enumerate([-HOUR, HOUR]):
        scene.run("worker", f"w{number}", how=f"{naively}fast", skew=skew, layer=options)
    senders = [
        scene.run("sender", f"s{number}", skew=skew, count=100, seconds=0.001, layer=options)
        for number, skew in enumerate([HOUR, -HOUR])
    ]
    for sender in senders:
        assert await sender.line() == "ready"
        sender.go()
    for sender in senders:
        assert await sender.line() == {"acknowledged": 100}
    await scene.all_handled()


async def live_on_and_lose_nothing(server: ServerProcess, scene: Scene) -> None:
    await live_at_different_times(scene, KEYS)
    assert scene.judge().once_in_order() == []
    assert {line.by for line in scene.ledger.lines("end")} > {"w0-0"}, "more than one of them took part"


async def test_clocks_that_are_an_hour_apart_do_not_matter(everywhere: Everywhere) -> None:
    await everywhere(live_on_and_lose_nothing)


@on_valkey
async def test_twin_when_senders_say_when_a_message_ends_others_drop_it(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "stamped") as scene:
        scene.settle = 2.0
        await live_at_different_times(scene, {}, "naively ")
        assert any("lost" in complaint for complaint in scene.judge().broken())
