"""Checks that are made at a time, within a bound, and raise nothing."""

import asyncio
import time
from typing import Any

import pytest

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer, Readiness
from fast_channels.layers.readiness import Check, all_checked


async def good() -> None:
    await asyncio.sleep(0)


async def bad() -> None:
    raise ConnectionError("no server")


async def speechless() -> None:
    raise ZeroDivisionError


async def endless() -> None:
    await asyncio.Event().wait()


async def cancelled() -> None:
    raise asyncio.CancelledError


def test_what_it_says() -> None:
    assert Readiness()
    assert str(Readiness()) == "ready"
    assert not Readiness(("deaf", "mute"))
    assert str(Readiness(("deaf", "mute"))) == "deaf; mute"


@pytest.mark.parametrize(
    ("works", "problems"),
    [
        ([], ()),
        ([good], ()),
        ([good, bad], ("no server",)),
        ([bad, bad], ("no server",)),
        ([speechless, good], ("ZeroDivisionError",)),
        ([bad, endless], ("no server", "late within 0.01 s")),
        ([cancelled], ("late within 0.01 s",)),
    ],
)
async def test_checks(works: list[Any], problems: tuple[str, ...]) -> None:
    state = await all_checked([Check("late", work) for work in works], 0.01)
    assert state.problems == problems
    assert len(asyncio.all_tasks()) == 1


async def test_the_slowest_check_is_as_long_as_they_all_take() -> None:
    begun = time.monotonic()
    await all_checked([Check("late", endless) for _ in range(100)], 0.05)
    assert time.monotonic() - begun < 3


async def test_a_layer_without_a_server_is_always_ready() -> None:
    assert await InMemoryChannelLayer().ready()
    assert await BaseChannelLayer().ready()


class Failing(InMemoryChannelLayer):
    async def ready(self, timeout: float = 1.0) -> Readiness:
        raise ZeroDivisionError("by zero")


class Hanging(InMemoryChannelLayer):
    async def ready(self, timeout: float = 1.0) -> Readiness:
        await endless()
        return Readiness()


async def test_a_registry_asks_all_and_raises_nothing() -> None:
    layers = ChannelLayerRegistry()
    assert await layers.ready()
    other: Any = object()  # of another library
    for alias, layer in {"a": InMemoryChannelLayer(), "b": Failing(), "c": Hanging(), "d": other}.items():
        layers.register(alias, layer)
    assert str(await layers.ready(0.01)) == "b: ZeroDivisionError('by zero'); c: no answer within 0.11 s"
