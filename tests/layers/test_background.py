"""A loop in a thread: calls, what ends them, and what ends the loop."""

import asyncio
import gc
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import background
from fast_channels.layers.background import BackgroundLoop
from tests.support.sync_contract import ctrl_c, in_thread
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


def test_the_loop_of_the_thread_that_calls_stays_its_own(ending: Ending) -> None:
    def program() -> None:
        own = asyncio.new_event_loop()
        asyncio.set_event_loop(own)
        loop = BackgroundLoop(ending)
        assert loop.run(answer) == 42
        assert asyncio.get_event_loop() is own
        loop.stop()
        assert asyncio.get_event_loop() is own
        own.close()

    in_thread(program).result(PATIENCE)


def test_where_there_can_be_no_more_threads_nothing_is_left_open(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    loop = BackgroundLoop(ending)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            loop.run(answer)
    gc.collect()  # a loop that is not closed warns
    assert not loop.is_running
    assert loop.run(answer) == 42
    loop.stop()


# Interruptions


def test_who_is_interrupted_while_a_call_is_handed_over_has_not_left_it_there(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = BackgroundLoop(ending)
    assert loop.run(answer) == 42
    made, given_back = [], []
    hand_over = asyncio.BaseEventLoop.call_soon_threadsafe

    async def make() -> int:
        made.append(7)
        return 7

    async def give_back(result: int) -> None:
        given_back.append(result)

    def interrupted(*args: Any) -> None:
        monkeypatch.undo()
        hand_over(*args)
        raise KeyboardInterrupt

    for _ in range(20):  # the loop is sometimes faster
        monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run(make, give_back)
    assert loop.run(answer) == 42
    assert given_back == made
    loop.stop()


def test_what_is_given_back_is_not_cancelled_by_the_interruption(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_given_up, was_interrupted, given_back = threading.Event(), threading.Event(), threading.Event()

    class Outcome(Future[int]):
        def cancel(self) -> bool:
            try:
                return super().cancel()
            finally:
                is_given_up.set()

    async def make() -> int:
        press(is_given_up)  # the loop stands still until then
        return 7

    async def give_back(result: int) -> None:
        await asyncio.to_thread(was_interrupted.wait, PATIENCE)
        given_back.set()

    monkeypatch.setattr(background, "Future", Outcome)
    loop = BackgroundLoop(ending)
    with ctrl_c() as press, pytest.raises(KeyboardInterrupt):
        loop.run(make, give_back)
    was_interrupted.set()
    assert given_back.wait(PATIENCE)
    loop.stop()
