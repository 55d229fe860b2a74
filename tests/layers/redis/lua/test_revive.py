"""Sending dead letters again, or dropping them."""

import pytest

from fast_channels.layers.redis.scripts import REVIVE
from tests.layers.redis.lua.conftest import Desk, Shared


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    jobs = desk.channel()
    jobs.push(1, *"abcd")
    return jobs


def bury(jobs: Shared, count: int = 3) -> list[bytes]:
    [_, _, *taken] = jobs.take(1, count)
    for place, (id, _, _) in enumerate(taken):
        jobs.give_back(id, most=1)
        jobs.desk.admin.zadd(jobs.keys.dead, {id: place})
    return [id for id, _, _ in taken]


def revive(jobs: Shared, what: str, *ids: bytes) -> int:
    keys = (jobs.keys.ready, jobs.keys.payloads, jobs.keys.states, jobs.keys.dead, jobs.keys.reports)
    answer: int = jobs.desk.run(REVIVE, keys, what, jobs.wake, *ids)
    return answer


def test_all_of_them_are_sent_again_the_oldest_first_behind_what_waits(jobs: Shared) -> None:
    ids = bury(jobs)
    assert revive(jobs, "again") == 3
    assert jobs.waiting() == ["d", "a", "b", "c"]
    assert not jobs.desk.admin.exists(jobs.keys.dead, jobs.keys.reports)
    assert jobs.take(2, 9)[2:][1:] == [(id, 1, payload) for id, payload in zip(ids, (b"a", b"b", b"c"), strict=True)]


def test_what_is_sent_again_does_not_expire(jobs: Shared) -> None:
    bury(jobs, 1)
    revive(jobs, "again")
    jobs.expire_all()
    assert [message[2] for message in jobs.take(2, 9)[2:]] == [b"a"]


def test_some_of_them_in_the_order_that_was_asked_for(jobs: Shared) -> None:
    first, second, third = bury(jobs)
    assert revive(jobs, "again", third, first, b"17", third) == 2
    assert jobs.waiting() == ["d", "c", "a"]
    assert jobs.desk.admin.zrange(jobs.keys.dead, 0, -1) == [second]


def test_what_is_dropped_leaves_nothing(jobs: Shared) -> None:
    first, second, _ = bury(jobs)
    assert revive(jobs, "drop", first) == 1
    assert revive(jobs, "drop") == 2
    assert revive(jobs, "drop") == 0
    assert jobs.waiting() == ["d"]
    assert jobs.desk.admin.hlen(jobs.keys.payloads) == 1
    assert jobs.report(second) is None


@pytest.mark.parametrize("what", ["again", "drop"])
def test_only_dead_letters_are_meant(jobs: Shared, what: str) -> None:
    held = jobs.take_one(1)
    [waiting, *_] = jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)
    before = jobs.desk.everything()
    assert revive(jobs, what, held, waiting) == 0
    assert jobs.desk.everything() == before
