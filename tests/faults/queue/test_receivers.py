"""Receivers that are cancelled, or that come and go beside one that stays."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.ledger import Log
from tests.faults.queue.scene import Scene, eventually
from tests.faults.traffic import every
from tests.support.waiting import PATIENCE

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

TIMES = 1000

BURST = 5
"""Messages at once, so that more than one receiver is needed for a moment."""

Receive = Callable[[BaseChannelLayer, str], Coroutine[Any, Any, Any]]


async def receive(layer: BaseChannelLayer, channel: str) -> Any:
    return await layer.receive(channel)


async def take_and_tarry(layer: BaseChannelLayer, channel: str, seconds: float = 0.002) -> Any:
    """The protection off: a message is out of its channel before the wait is over."""
    message = await layer.receive(channel)
    await asyncio.sleep(seconds)
    return message


async def take_and_never_return(layer: BaseChannelLayer, channel: str) -> Any:
    """The same, longer than any visitor stays."""
    return await take_and_tarry(layer, channel, 0.03)


async def give_up_a_thousand_times(scene: Scene, to: str, receive: Receive = receive) -> None:
    """Messages come while their receiver is for ever called away from waiting."""
    layer, log, sender, chance = scene.layer(), scene.log("o"), scene.sender(), random.Random(4)
    channel = await layer.new_channel() if to == "specific" else "jobs"
    cancelled = 0
    async with sender.load(channel, 0.002):
        while cancelled < TIMES:
            task = asyncio.create_task(receive(layer, channel))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(chance.choice([0, 0, 0, 0.0005]))
            cancelled += task.cancel()
            with suppress(asyncio.CancelledError):
                note(log, channel, await task)
    await sender.send(channel)
    async with asyncio.timeout(PATIENCE):
        number = 0
        while number < sender.begun:
            number = note(log, channel, await receive(layer, channel))


def note(log: Log, channel: str, message: dict[str, Any]) -> int:
    """Write down that a message was received; its number."""
    log.write("start", channel, message)
    log.write("end", channel, message)
    return int(message["number"])


@pytest.mark.parametrize("to", ["specific", "shared"])
async def test_receiving_that_is_cancelled_a_thousand_times_loses_nothing(scene: Scene, to: str) -> None:
    await give_up_a_thousand_times(scene, to)
    assert scene.judge().once_in_order() == []
    assert scene.ledger.count("end") > 100


@on_valkey
@pytest.mark.parametrize("to", ["specific", "shared"])
async def test_twin_a_message_in_hand_when_the_wait_is_cancelled_is_lost(scene: Scene, to: str) -> None:
    await give_up_a_thousand_times(scene, to, take_and_tarry)
    assert any("lost" in complaint for complaint in scene.judge().broken())


async def come_and_go(scene: Scene, to: str, receive: Receive = receive, messages: int = 1500) -> int:
    """Every 3 ms somebody comes and waits beside one who stays, and leaves while they wait; how many came."""
    layer, sender, visits = scene.layer(), scene.sender(), set[asyncio.Task[None]]()
    if to == "specific":
        channel = await scene.own("stable", layer=layer)
    else:
        scene.work("stable", channel := "jobs", layer=layer)

    async def visit(number: int) -> None:
        """Receive on a channel of one's own, or on the same one, for a moment."""
        mine = await layer.new_channel() if to == "specific" else channel
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01 * (number % 3)):
                note(scene.log(f"visitor {number}"), mine, await receive(layer, mine))
        if to == "specific":
            await layer.release_channel(mine)

    async with every(0.003, lambda: visits.add(asyncio.create_task(visit(len(visits))))):
        await eventually(lambda: len(visits) > 10)
        for _ in range(messages // BURST):
            await asyncio.gather(*(sender.send(channel) for _ in range(BURST)))
            await asyncio.sleep(0.003)
    await asyncio.gather(*visits)
    await scene.all_handled()
    return len(visits)


@pytest.mark.parametrize("to", ["specific", "shared"])
async def test_one_who_stays_loses_nothing_while_others_come_and_go(scene: Scene, to: str) -> None:
    assert await come_and_go(scene, to) > 100
    verdict = scene.judge()
    assert verdict.broken() == []
    assert verdict.begun_again == {}
    if to == "specific":  # on a shared channel, what a visitor was about to get comes after what others have by then
        assert verdict.inverted == []
    receivers = {line.by for line in scene.ledger.lines("end")}
    assert (len(receivers) > 1) == (to == "shared"), "visitors of a shared channel take their part"
    assert scene.ledger.count("acknowledged") == 1500


@on_valkey
async def test_twin_whoever_leaves_with_a_message_in_hand_takes_it_along(scene: Scene) -> None:
    scene.settle = 2.0
    await come_and_go(scene, "shared", take_and_never_return, messages=500)
    assert any("lost" in complaint for complaint in scene.judge().broken())


@on_valkey
async def test_twin_when_each_pops_for_all_whoever_leaves_takes_messages_of_others_along(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        scene.settle = 2.0
        await come_and_go(scene, "specific")
        assert any("lost" in complaint for complaint in scene.judge().broken())
