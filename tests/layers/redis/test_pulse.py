"""The signs of life of an event loop, and what is done beside its work."""

import asyncio

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.redis import pulse
from fast_channels.layers.redis.pulse import Pulse
from tests.support.waiting import until


class Work:
    """Something to do, which says how often it was begun and finished."""

    def __init__(self) -> None:
        self.begun = 0
        self.finished = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        await self.go_on.wait()
        self.finished += 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.01)
    monkeypatch.setattr(pulse, "LATER", 0.05)


@pytest.mark.usefixtures("quick")
async def test_it_beats_while_it_is_started() -> None:
    beats: list[float] = []
    beating = Pulse("test", lambda: beats.append(0.0))
    assert not beating.stop()
    beating.start()
    beating.start()
    await until(lambda: len(beats) >= 3)
    assert beating.stop()
    seen = len(beats)
    await asyncio.sleep(0.05)
    assert len(beats) == seen


@pytest.mark.usefixtures("quick")
async def test_it_beats_again_after_everything_was_cancelled() -> None:
    beats: list[float] = []
    beating = Pulse("test", lambda: beats.append(0.0))
    beating.start()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    beating.start()
    await until(lambda: len(beats) >= 2)
    beating.stop()


@pytest.mark.usefixtures("quick")
async def test_who_only_sends_beats_after_a_while() -> None:
    beats: list[float] = []
    beating = Pulse("test", lambda: beats.append(0.0))
    beating.start_later()
    beating.start_later()
    await asyncio.sleep(0.01)
    assert not beats
    await until(lambda: bool(beats))
    beating.stop()


@pytest.mark.usefixtures("quick")
async def test_who_is_closed_before_that_never_beats() -> None:
    beats: list[float] = []
    beating = Pulse("test", lambda: beats.append(0.0))
    beating.start_later()
    assert not beating.stop()
    await asyncio.sleep(0.1)
    assert not beats


async def test_what_is_still_being_done_is_not_begun_again() -> None:
    beating, work = Pulse("test", lambda: None), Work()
    for _ in range(3):
        beating.begin("it", work())
        await asyncio.sleep(0)
    assert work.begun == 1
    work.go_on.set()
    await until(lambda: work.finished == 1)
    beating.begin("it", work())
    await until(lambda: work.finished == 2)


async def test_what_was_stopped_before_its_first_step_can_be_begun_again() -> None:
    beating, work = Pulse("test", lambda: None), Work()
    beating.begin("it", work())  # and is stopped before the loop comes to it
    beating.stop()
    await asyncio.sleep(0.01)
    assert work.begun == 0
    work.go_on.set()
    beating.begin("it", work())
    await until(lambda: work.finished == 1)


async def test_what_fails_is_logged_and_can_be_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    beating = Pulse("test", lambda: None)

    async def fail(error: Exception) -> None:
        raise error

    with caplog.at_level("DEBUG", "fast_channels.redis"):
        for error in (ServerUnreachable("redis://x", 1.0), ZeroDivisionError("no")):
            beating.begin("it", fail(error))
            await asyncio.sleep(0.01)
    assert [record.levelname for record in caplog.records if record.name == "fast_channels.redis"] == ["DEBUG", "ERROR"]
