"""Forgetting messages that were handled."""

import pytest

from tests.layers.redis.lua.conftest import Desk, Shared


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    jobs = desk.channel()
    jobs.push(1, *"abc")
    return jobs


def test_a_message_that_was_handled_is_gone(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert jobs.acknowledge(id) == "1"
    assert (jobs.holder(id), jobs.state(id)) == (None, None)
    assert not jobs.desk.admin.hexists(jobs.keys.payloads, id)
    assert jobs.waiting() == ["b", "c"]


def test_several_are_acknowledged_together(jobs: Shared) -> None:
    [_, _, *taken] = jobs.take(1, 3)
    ids = [id for id, _, _ in taken]
    assert jobs.acknowledge(ids[0], ids[2], ids[0]) == "11g"
    assert jobs.holder(ids[1]) == "worker"


def test_one_that_another_has_by_now_stays(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.desk.admin.hset(jobs.keys.held, id, "another")
    before = jobs.desk.everything()
    assert jobs.acknowledge(id) == "0"
    assert jobs.desk.everything() == before


def test_one_that_waits_for_another_stays(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.give_back(id)
    assert jobs.acknowledge(id) == "0"
    assert jobs.waiting() == ["a", "b", "c"]


def test_one_that_is_gone_is_told_from_one_that_is_not(jobs: Shared) -> None:
    """Whoever asks again because the answer was lost then knows that it was done."""
    id = jobs.take_one(1)
    assert [jobs.acknowledge(id), jobs.acknowledge(id)] == ["1", "g"]
    assert jobs.acknowledge(b"17") == "g"


def test_the_lease_is_not_asked_while_nobody_else_has_it(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.set_lease("worker", -90_000, -60_000)
    assert jobs.acknowledge(id) == "1"
