"""Signals call back in the loop; the tests of the command send real ones to a process of their own."""

import asyncio
import signal

from fast_channels.worker.signals import NUMBERS, on_signals
from tests.support.waiting import until


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in NUMBERS]


async def test_the_first_two_call_back_with_their_names_and_the_third_is_the_systems() -> None:
    before = handlers()
    names: list[str] = []
    with on_signals(names.append):
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: names == ["SIGTERM"])
        assert signal.SIG_DFL not in handlers()
        signal.raise_signal(signal.SIGINT)
        assert handlers() == [signal.SIG_DFL, signal.SIG_DFL]
        await until(lambda: names == ["SIGTERM", "SIGINT"])
    assert handlers() == before


async def test_afterwards_everything_is_as_it_was() -> None:
    before = handlers()
    with on_signals(lambda name: None):
        assert handlers() != before
        await asyncio.sleep(0)
    assert handlers() == before
