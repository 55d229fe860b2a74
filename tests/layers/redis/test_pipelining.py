"""Many things at once: as many as there is room for, in their order, and none at a server that is away."""

import asyncio
from functools import partial

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.redis import pipelining
from fast_channels.layers.redis.pipelining import Pipeline

AWAY = ServerUnreachable("redis://a", 5.0)


class Things:
    """What is begun, in its order."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[int]] = []

    def begin(self) -> "asyncio.Future[int]":
        self.begun.append(asyncio.get_running_loop().create_future())
        return self.begun[-1]


async def started(pipeline: Pipeline, things: Things, count: int, size: int = 1, server: str = "a") -> list[object]:
    for _ in range(count):
        await pipeline.start(server, size, things.begin)
    return await pipeline.finish()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_none_waits_for_the_one_before_and_outcomes_keep_their_order() -> None:
    things = Things()
    async with Pipeline() as pipeline:
        running = asyncio.create_task(started(pipeline, things, 3))
        await turns()
        assert len(things.begun) == 3
        error = OSError()
        things.begun[2].set_result(2)
        things.begun[1].set_exception(error)
        things.begun[0].set_result(0)
        assert await running == [0, error, 2]


@pytest.mark.parametrize(("most", "most_bytes"), [(2, 1000), (1000, 25)])
async def test_there_is_a_limit_to_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch, most: int, most_bytes: int
) -> None:
    monkeypatch.setattr(pipelining, "MOST", most)
    monkeypatch.setattr(pipelining, "MOST_BYTES", most_bytes)
    things = Things()
    async with Pipeline() as pipeline:
        running = asyncio.create_task(started(pipeline, things, 4, size=10))
        for number in range(4):
            await turns()
            assert len(things.begun) == min(number + 2, 4)
            things.begun[number].set_result(number)
        assert await running == [0, 1, 2, 3]


async def test_what_is_larger_than_the_limit_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelining, "MOST_BYTES", 25)
    things = Things()
    async with Pipeline() as pipeline:
        running = asyncio.create_task(started(pipeline, things, 2, size=100))
        for number in range(2):
            await turns()
            assert len(things.begun) == number + 1
            things.begun[number].set_result(number)
        assert await running == [0, 1]


async def test_a_server_that_was_away_is_not_tried_again_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelining, "MOST", 1)
    things = Things()
    async with Pipeline() as pipeline:
        await pipeline.start("a", 1, things.begin)
        things.begun[0].set_exception(AWAY)
        await pipeline.start("b", 1, things.begin)
        things.begun[1].set_result(1)
        await pipeline.start("a", 1, things.begin)
        assert await pipeline.finish() == [AWAY, 1, AWAY]
    assert len(things.begun) == 2


async def test_where_one_may_overtake_another_they_go_one_by_one_and_others_pass() -> None:
    things = Things()
    async with Pipeline() as pipeline:
        await pipeline.start("a", 1, things.begin, way := object())
        await pipeline.start("b", 1, things.begin, object())
        await pipeline.start("c", 1, things.begin)
        waiting = asyncio.create_task(pipeline.start("a", 1, things.begin, way))
        await turns()
        assert len(things.begun) == 3
        things.begun[0].set_exception(OSError())
        await waiting
        assert len(things.begun) == 4
        for thing in things.begun[1:]:
            thing.set_result(1)
        assert (await pipeline.finish())[1:] == [1, 1, 1]


async def test_who_is_refused_at_once_is_told_in_turn() -> None:
    def refuse(error: Exception) -> "asyncio.Future[int]":
        raise error

    async with Pipeline() as pipeline:
        await pipeline.start("a", 1, partial(refuse, AWAY))
        assert await pipeline.finish() == [AWAY]


async def test_what_is_under_way_when_its_sender_is_cancelled_is_given_up() -> None:
    things = Things()

    async def send() -> None:
        async with Pipeline() as pipeline:
            await started(pipeline, things, 3)

    sending = asyncio.create_task(send())
    await turns()
    sending.cancel()
    await asyncio.wait({sending})
    assert [thing.cancelled() for thing in things.begun] == [True] * 3
