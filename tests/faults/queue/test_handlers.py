"""Handlers that fail, tarry or block, beside others that do not."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene, eventually

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

# One always raises


async def send_poison(scene: Scene) -> None:
    """One message in the middle of others that cannot be handled."""
    sender = scene.sender()
    await scene.send(sender, 10)
    await sender.send("jobs", poison=True)
    await scene.send(sender, 10)


async def test_a_message_that_cannot_be_handled_dies_after_five_deliveries_and_the_others_do_not_care(
    scene: Scene,
) -> None:
    await send_poison(scene)
    layer = cast("RedisChannelLayer", scene.work(retry_delay=0.05))
    await eventually(lambda: layer.statistics().dead_lettered)
    verdict = scene.judge(counted=1)
    assert verdict.broken() == []
    assert verdict.missing == [("jobs", "s", 11)]
    assert verdict.inverted == []
    assert verdict.begun_again == {("jobs", "s", 11): 5}
    [letter] = await layer.dead_letters.list("jobs")
    assert letter.deliveries == 5
    assert letter.reason == "max_deliveries"
    assert letter.error.endswith("HandlerFailed: no. 11 cannot be handled")
    deliveries = [line.at for line in scene.ledger.lines("start") if line.number == 11]
    for (before, after), least in zip(pairwise(deliveries), [0.05, 0.1, 0.2, 0.4], strict=True):
        assert after - before > least * 0.9, "the delay grows"


@on_valkey
async def test_twin_a_message_that_goes_back_at_once_stands_in_the_way_of_all(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with Scene(server.url, tmp_path, "leased") as scene:
        await send_poison(scene)
        scene.work()
        await eventually(lambda: scene.ledger.count("start") > 50)
        assert len(scene.judge().missing) == 11


# One is slow


async def hold_nobody_up(server: ServerProcess, scene: Scene) -> None:
    sender = scene.sender()
    scene.work("slow", how="slow")
    await sender.send("jobs", seconds=2)
    await eventually(lambda: scene.ledger.count("start") == 1)
    for name in ("fast", "faster"):
        scene.work(name)
    await scene.send(sender, 500)
    await scene.all_handled()
    verdict = scene.judge()
    assert verdict.once_in_order() == []
    handlers = [line.by for line in scene.ledger.lines("end")]
    assert handlers.index("slow") > 10, "the others did not wait"


async def test_a_slow_handler_keeps_its_message_and_holds_nobody_up(everywhere: Everywhere) -> None:
    await everywhere(hold_nobody_up)


async def take_long(server: ServerProcess, scene: Scene) -> None:
    sender = scene.sender()
    scene.work("slow", how="slow", seconds=11)
    await sender.send("jobs")
    await eventually(lambda: scene.ledger.count("start") == 1)
    others = [scene.work(name) for name in ("one", "other")]
    await scene.all_handled()
    assert scene.judge().once_in_order() == []
    assert [layer.statistics().redelivered for layer in others] == [0, 0]


@pytest.mark.faults
async def test_a_handler_that_takes_longer_than_a_lease_keeps_its_message(everywhere: Everywhere) -> None:
    await everywhere(take_long)


@pytest.mark.faults
@on_valkey
async def test_twin_a_handler_that_blocks_its_process_for_longer_than_a_lease_is_robbed(scene: Scene) -> None:
    scene.run("worker", "blocking", how="block", seconds=11)
    await scene.sender().send("jobs")
    await eventually(lambda: scene.ledger.count("start") == 1)
    scene.work("other")
    await eventually(lambda: scene.ledger.count("end") == 2)
    verdict = scene.judge()
    assert verdict.broken() == []
    assert verdict.doubled == {("jobs", "s", 1): 2}


# A member of a group is slow


async def tarry(layer: Any, channel: str) -> None:
    """Receive one message, and be busy with it."""
    await layer.receive(channel)
    await asyncio.sleep(3600)


async def tell_everybody(scene: Scene, slow: bool) -> tuple[int, int]:
    """500 messages to a group of 20 fast members and perhaps a slow one; how many were missed, and dropped."""
    layer = scene.layer(capacity=100)
    members = [await scene.own(f"fast {number}", "room", layer=layer) for number in range(20)]
    if slow:
        members.append(tarrying := await layer.new_channel())
        await layer.group_add("room", tarrying)
        scene.begin(tarry(layer, tarrying))
    sender = scene.sender()
    for _ in range(500):
        await sender.group_send("room")
        await asyncio.sleep(0.001)
    await eventually(lambda: scene.ledger.count("end") == 500 * 20)
    scene.members = {"room": members[:20]}
    verdict = scene.judge()
    assert verdict.once_in_order() == []
    return len(verdict.missing), layer.statistics().dropped.get("over_capacity", 0)


async def test_a_slow_member_of_a_group_misses_what_it_has_no_room_for_and_nobody_else_does(
    everywhere: Everywhere,
) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        missed, dropped = await tell_everybody(scene, slow=True)
        assert missed == 0
        assert dropped in (399, 400), "one is in hand, a hundred wait"

    await everywhere(scenario)


@on_valkey
async def test_twin_without_a_slow_member_nothing_is_dropped(scene: Scene) -> None:
    assert await tell_everybody(scene, slow=False) == (0, 0)
