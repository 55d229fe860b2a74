"""Workers that die or stand still, and who gets their messages."""

import asyncio
import signal
import time
from collections.abc import Sequence

import pytest

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.ledger import Ledger
from tests.faults.queue.scene import Scene, eventually

WORKERS = 20
NOTICED = 10.0
"""Seconds in which a worker that died is noticed."""


async def let_them_die(scene: Scene, how: str, channel: str = "jobs") -> None:
    """A process for each message, which ends with it."""
    await scene.send(scene.sender(f"to {channel}"), WORKERS, channel)
    scene.run("worker", f"dying of {channel}", channels=[channel], how=how, copies=WORKERS)
    await eventually(lambda: scene.ledger.count("start", channel=channel) == WORKERS)


def waited(ledger: Ledger, channel: str) -> float:
    """Seconds from the last death to the last message of the dead that was handled again."""
    starts = ledger.lines("start", channel=channel)
    died = max(line.at for line in starts if line.by.startswith("dying"))
    return max(line.at for line in starts) - died


# In the handler


async def die_inside(server: ServerProcess, scene: Scene) -> None:
    await let_them_die(scene, "die inside")
    scene.work("survivor")
    await scene.all_handled()
    verdict = scene.judge()
    assert verdict.broken() == []
    assert verdict.doubled == {}
    assert set(verdict.begun_again.values()) == {2}
    assert len(verdict.begun_again) == WORKERS
    assert waited(scene.ledger, "jobs") < NOTICED


async def test_workers_that_are_killed_in_their_handlers_lose_nothing(everywhere: Everywhere) -> None:
    await everywhere(die_inside)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["valkey9"])
async def test_twin_messages_that_are_acknowledged_before_they_are_handled_die_with_the_worker(scene: Scene) -> None:
    await let_them_die(scene, "naively die inside")
    scene.work("survivor", naively=True)
    scene.settle = 8.0
    await scene.all_handled()
    assert len(scene.judge().broken()) == WORKERS


# Between the handler and the acknowledgement


async def die_before_and_after_the_acknowledgement(server: ServerProcess, scene: Scene) -> None:
    await let_them_die(scene, "die after the acknowledgement", "twin")
    await let_them_die(scene, "die before the acknowledgement", "jobs")
    for channel in ("twin", "jobs"):
        scene.work(f"survivor of {channel}", channel)
    await eventually(lambda: scene.ledger.count("end", channel="jobs") == 2 * WORKERS)
    verdict = scene.judge()
    assert verdict.broken() == []
    assert set(verdict.doubled.values()) == {2}
    assert {key[0] for key in verdict.doubled} == {"jobs"}
    assert len(verdict.doubled) == WORKERS
    assert waited(scene.ledger, "jobs") < NOTICED


@pytest.mark.faults
async def test_workers_that_are_killed_before_they_acknowledge_have_their_messages_handled_again(
    everywhere: Everywhere,
) -> None:
    """The twin dies a moment later, after the acknowledgement: it is the missing one that brings a message back."""
    await everywhere(die_before_and_after_the_acknowledgement)


# Stopped, and robbed: rightly so, since nobody can tell it from a dead one

LATE = ["anybody may acknowledge", "anybody may give back"]


async def wake_up_late(scene: Scene, stopped: float, weaknesses: Sequence[str] = ()) -> None:
    """A worker is stopped in its handler. When it goes on, another one has the message, and is not ready either.

    On `ends`, the late one acknowledges and the other fails; on `fails`, it is the other way round.
    """
    sender = scene.sender()
    late = [
        scene.run("worker", f"late on {channel}", channels=[channel], how=how, seconds=1, weaknesses=list(weaknesses))
        for channel, how in {"ends": "slow", "fails": "slow and fail"}.items()
    ]
    for channel in ("ends", "fails"):
        await sender.send(channel)
    await eventually(lambda: scene.ledger.count("start") == 2)
    stopped_at = time.monotonic()
    for program in late:
        program.signal(signal.SIGSTOP)
    scene.work("second on ends", "ends", "slow and fail", seconds=stopped - 1, retry_delay=0.5)
    scene.work("second on fails", "fails", "slow", seconds=stopped - 1)
    await eventually(lambda: scene.ledger.count("start") == 4, "the others rob them", timeout=NOTICED)
    await asyncio.sleep(stopped_at + stopped - time.monotonic())
    for program in late:
        program.signal(signal.SIGCONT)
    await eventually(lambda: scene.ledger.count("end", channel="fails") == 1, timeout=20)


async def wake_up_late_and_do_no_harm(server: ServerProcess, scene: Scene) -> None:
    await wake_up_late(scene, 15)
    await eventually(lambda: scene.ledger.count("start", channel="ends") == 3, "who failed has it given back", 10)
    await scene.all_handled()
    assert scene.judge().broken() == []
    assert scene.ledger.count("start", channel="fails") == 2, "only who has a message gives it back"


@pytest.mark.faults
async def test_a_worker_that_was_stopped_for_15_seconds_does_no_harm_when_it_goes_on(everywhere: Everywhere) -> None:
    await everywhere(wake_up_late_and_do_no_harm)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["valkey9"])
async def test_twin_a_worker_that_acknowledges_and_gives_back_what_others_have_by_now(scene: Scene) -> None:
    await wake_up_late(scene, 9, LATE)
    await eventually(
        lambda: scene.ledger.count("start", channel="fails") >= 3, "it was given back from under somebody", 10
    )
    await asyncio.sleep(2)
    assert scene.ledger.count("start", channel="ends") == 2, "the one who failed had nothing any more to give back"
