"""Dead letters: what was given up is kept with the reason, and can be sent again or dropped."""

import time
from contextlib import suppress

import pytest

from fast_channels.exceptions import InvalidNameError
from fast_channels.layers.redis import RedisChannelLayer, held
from tests.layers.redis.conftest import MakeQueue


async def let_die(layer: RedisChannelLayer, channel: str, *numbers: int) -> None:
    for n in numbers:
        await layer.send(channel, {"n": n})
        with suppress(ZeroDivisionError):
            async with layer.delivery(channel):
                raise ZeroDivisionError(f"on {n}:\nwith two lines: and colons")


async def test_a_dead_letter_says_all_there_is_to_know(make_queue: MakeQueue) -> None:
    layer, other = make_queue(max_deliveries=1), make_queue()
    await let_die(layer, "jobs", 1)
    (letter,) = await other.dead_letters.list("jobs")
    assert (letter.channel, letter.message, letter.reason, letter.deliveries) == ("jobs", {"n": 1}, "max_deliveries", 1)
    assert letter.error.startswith("ZeroDivisionError: on 1:")
    assert abs(time.time() - letter.died_at) < 60
    assert await other.dead_letters.get("jobs", letter.id) == letter
    assert await other.dead_letters.channels() == {"jobs": 1}


async def test_they_are_listed_oldest_first_and_by_pages(make_queue: MakeQueue) -> None:
    layer = make_queue(max_deliveries=1)
    await let_die(layer, "jobs", *range(5))
    dead = layer.dead_letters

    async def page(start: int, count: int) -> list[int]:
        return [letter.message["n"] for letter in await dead.list("jobs", start, count)]

    assert await page(0, 2) == [0, 1]
    assert await page(2, 100) == [2, 3, 4]
    assert await page(9, 100) == await page(0, 0) == []


async def test_what_is_not_there(make_queue: MakeQueue) -> None:
    dead = make_queue().dead_letters
    assert await dead.channels() == {}
    assert await dead.list("jobs") == []
    assert await dead.get("jobs", "1") is None
    assert await dead.send_again("jobs") == await dead.send_again("jobs", "1") == 0
    assert await dead.drop("jobs") == await dead.drop("jobs", "1") == 0
    with pytest.raises(InvalidNameError):
        await dead.list("no name")


async def test_one_that_is_sent_again_is_as_new_and_wakes_who_waits(make_queue: MakeQueue) -> None:
    layer = make_queue(max_deliveries=1, capacity=1)
    await let_die(layer, "jobs", 1, 2)
    _, second = await layer.dead_letters.list("jobs")
    assert await layer.dead_letters.send_again("jobs", second.id, second.id) == 1
    assert await layer.receive("jobs") == {"n": 2}
    await layer.send("jobs", {"n": 3})
    assert await layer.dead_letters.send_again("jobs") == 1, "capacity is not asked"
    assert [(await layer.receive("jobs"))["n"] for _ in range(2)] == [3, 1]
    assert layer.statistics().redelivered == 0
    assert await layer.dead_letters.channels() == {}
    await let_die(layer, "jobs", 4)
    assert [letter.deliveries for letter in await layer.dead_letters.list("jobs")] == [1]


async def test_what_is_dropped_is_gone(make_queue: MakeQueue) -> None:
    layer = make_queue(max_deliveries=1)
    await let_die(layer, "jobs", 1, 2, 3)
    first, *_ = await layer.dead_letters.list("jobs")
    assert await layer.dead_letters.drop("jobs", first.id) == 1
    assert [letter.message["n"] for letter in await layer.dead_letters.list("jobs")] == [2, 3]
    assert await layer.dead_letters.drop("jobs") == 2
    assert await layer.dead_letters.channels() == {}
    assert (
        "jobs" not in (await layer.inspect())["channels"]
        or (await layer.inspect())["channels"]["jobs"]["dead_letters"] == 0
    )


async def test_only_the_latest_are_kept(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "DEAD_LETTERS", 3)
    layer = make_queue(max_deliveries=1)
    await let_die(layer, "jobs", *range(5))
    assert [letter.message["n"] for letter in await layer.dead_letters.list("jobs")] == [2, 3, 4]
    assert layer.statistics().dead_lettered == 5


async def test_they_are_found_on_all_servers(make_queue: MakeQueue, redis_url: str, second_redis_url: str) -> None:
    layer = make_queue(hosts=[redis_url, second_redis_url], max_deliveries=1)
    names = sorted(f"jobs-{n}" for n in range(8))
    for name in names:
        await let_die(layer, name, 1)
    assert await layer.dead_letters.channels() == dict.fromkeys(names, 1)
    assert [await layer.dead_letters.drop(name) for name in names] == [1] * 8


async def test_a_dead_letter_takes_no_room(make_queue: MakeQueue) -> None:
    layer = make_queue(max_deliveries=1, capacity=2)
    await let_die(layer, "jobs", *range(3))
    for n in range(2):
        await layer.send("jobs", {"n": n})
    assert [(await layer.receive("jobs"))["n"] for _ in range(2)] == [0, 1]
