"""The server stands still, refuses writes, or dies."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene, eventually
from tests.faults.queue.weakened import weaken

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

# Stopped for longer than a lease


async def stand_still(server: ServerProcess, scene: Scene, seconds: float) -> int:
    """Eight work, four have nothing to do, and the server is stopped; how many messages were redelivered."""
    workers = [scene.work(f"busy {number}", how="slow", seconds=seconds + 8) for number in range(8)]
    sender = scene.sender()
    await scene.send(sender, 8)
    await eventually(lambda: scene.ledger.count("start") == 8)
    idle = [scene.work(f"idle {number}", how="slow", seconds=1) for number in range(4)]
    await asyncio.sleep(6)  # long enough for who has nothing to do to be trusted as long as nothing happens
    server.pause()
    await asyncio.sleep(seconds)
    server.resume()
    await sender.send("jobs", seconds=1)
    await scene.all_handled()
    return sum(layer.statistics().redelivered for layer in [*workers, *idle])


async def stand_still_and_rob_nobody(server: ServerProcess, scene: Scene) -> None:
    assert await stand_still(server, scene, 14) == 0
    assert scene.judge().once_in_order() == []


@pytest.mark.faults
async def test_nobody_who_lives_is_robbed_after_a_server_stood_still_for_14_seconds(everywhere: Everywhere) -> None:
    await everywhere(stand_still_and_rob_nobody)


@pytest.mark.faults
@on_valkey
async def test_twin_who_asks_first_after_the_server_stood_still_robs_the_others(
    server: ServerProcess, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(["who asks first robs all whose lease is over"], monkeypatch)
    assert await stand_still(server, scene, 6) > 0
    assert scene.judge().begun_again


@pytest.mark.faults
@on_valkey
async def test_twin_a_lease_that_is_a_key_with_a_time_to_live_runs_out(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "leased") as scene:
        scene.work("busy", how="slow", seconds=40)
        await scene.sender().send("jobs")
        await eventually(lambda: scene.ledger.count("start") == 1)
        for number in range(4):
            scene.work(f"idle {number}", how="slow", seconds=40)
        for _ in range(10):  # each time, it depends on who is the first
            await asyncio.sleep(0.3)
            server.pause()
            await asyncio.sleep(1)
            server.resume()
            await asyncio.sleep(0.3)
            if scene.ledger.count("start") > 1:
                break
        assert scene.judge().begun_again


# Writes are paused


async def pause_writes(server: ServerProcess, scene: Scene, **options: Any) -> None:
    scene.work(naively=scene.queue == "plain")
    owned = await scene.own()
    to_shared, to_owned = scene.sender("to shared", **options), scene.sender("to owned", **options)
    async with to_shared.load("jobs"), to_owned.load(owned):
        await asyncio.sleep(0.2)
        with Redis(port=server.port) as admin:
            admin.client_pause(3000, all=False)
        await asyncio.sleep(3.2)
    await scene.all_handled()


async def test_writes_that_are_paused_for_3_seconds_are_late_and_that_is_all(everywhere: Everywhere) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        await pause_writes(server, scene)
        assert scene.ledger.count("unknown", "unreachable", "refused") == 0
        assert scene.judge().once_in_order() == []

    await everywhere(scenario)


@on_valkey
async def test_twin_who_has_less_patience_than_the_pause_knows_nothing(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        await pause_writes(server, scene, patience=1.0)
        assert scene.ledger.count("unknown") > 0


# Killed and started again


async def die_and_live(server: ServerProcess, scene: Scene) -> None:
    """The server is killed three times under load, half of which nobody handles until it is over."""
    scene.work()
    owned = await scene.own()
    senders = [scene.sender(f"to {name}") for name in ("jobs", "later", "owned")]
    async with senders[0].load("jobs"), senders[1].load("later"), senders[2].load(owned):
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
    scene.work("later", "later")
    await scene.all_handled()


async def test_what_a_server_has_on_its_disk_survives_its_death(everywhere: Everywhere) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        await die_and_live(server, scene)
        assert scene.judge().once_in_order() == []
        assert scene.ledger.count("acknowledged") > 20

    await everywhere(scenario, appendonly="yes", appendfsync="always")


@on_valkey
async def test_twin_what_a_server_has_in_memory_dies_with_it(server: ServerProcess, scene: Scene) -> None:
    scene.settle = 3.0
    await die_and_live(server, scene)
    assert any("lost" in complaint for complaint in scene.judge().broken())
