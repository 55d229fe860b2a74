"""A loop in a thread: calls, what ends them, and what ends the loop."""

import asyncio
import threading

import pytest

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.background import BackgroundLoop
from tests.support.sync_contract import in_thread
from tests.support.waiting import PATIENCE


class Ending:
    """Counts how often a loop ended."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def ending() -> Ending:
    return Ending()


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


async def fail() -> None:
    raise LookupError("nothing there")


async def never() -> None:
    await asyncio.Event().wait()


def test_a_coroutine_runs_in_another_thread(ending: Ending) -> None:
    async def where() -> int:
        return threading.get_ident()

    loop = BackgroundLoop(ending)
    assert not loop.is_running
    assert loop.run(where) == loop.run(where) != threading.get_ident()
    assert repr(loop) == "<BackgroundLoop running>"
    loop.stop()
    assert ending.count == 1


def test_what_it_raises_is_raised(ending: Ending) -> None:
    loop = BackgroundLoop(ending)
    with pytest.raises(LookupError, match="nothing there"):
        loop.run(fail)
    assert loop.run(answer) == 42
    loop.stop()


def test_whoever_waits_when_it_is_stopped_is_told(ending: Ending) -> None:
    loop = BackgroundLoop(ending)
    assert loop.run(answer) == 42
    waiting = in_thread(loop.run, never)
    with pytest.raises(TimeoutError):
        waiting.result(0.05)
    loop.stop()
    with pytest.raises(FastChannelsError, match=r"^the layer was closed meanwhile$"):
        waiting.result(PATIENCE)


def test_unless_nobody_wants_to_hear_it(ending: Ending) -> None:
    loop = BackgroundLoop(ending)
    assert loop.run(answer) == 42
    waiting = in_thread(loop.run, never)
    with pytest.raises(TimeoutError):
        waiting.result(0.05)
    loop.stop(quiet=True)
    with pytest.raises(TimeoutError):
        waiting.result(0.05)


def test_stopping_twice_is_once_and_another_call_starts_another(ending: Ending) -> None:
    loop = BackgroundLoop(ending)
    for _ in range(2):
        assert loop.run(answer) == 42
        loop.stop()
        loop.stop()
    assert ending.count == 2


def test_an_ending_that_fails_ends_nevertheless(caplog: pytest.LogCaptureFixture) -> None:
    loop = BackgroundLoop(fail)
    for _ in range(2):
        assert loop.run(answer) == 42
        loop.stop()
    assert [record.getMessage() for record in caplog.records] == ["layer.sync was not closed in order"] * 2
