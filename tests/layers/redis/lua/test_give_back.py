"""Giving a message back that was not handled."""

import pytest

from tests.layers.redis.lua.conftest import Desk, Shared


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    jobs = desk.channel()
    jobs.push(1, *"abc")
    return jobs


def test_it_stands_at_the_head_again(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert jobs.give_back(id) == "b"
    assert jobs.waiting() == ["a", "b", "c"]
    assert jobs.holder(id) is None
    assert jobs.take(2)[2] == (id, 2, b"a")


def test_what_was_not_handed_over_does_not_count_as_delivered(jobs: Shared) -> None:
    id = jobs.take_one(1)
    state = str(jobs.state(id)).split(":")
    assert jobs.give_back(id, most=0) == "b"
    assert str(jobs.state(id)).split(":") == ["0", *state[1:]]
    assert jobs.take(2)[2] == (id, 1, b"a")


def test_what_a_handler_had_does_not_expire_any_more(jobs: Shared) -> None:
    id = jobs.take_one(1)
    sent = str(jobs.state(id)).split(":")[2]
    assert jobs.give_back(id, most=0, handed_over=True) == "b"
    assert jobs.state(id) == f"0:0:{sent}"


def test_it_keeps_the_time_when_it_came(jobs: Shared) -> None:
    id = jobs.take_one(1)
    sent = str(jobs.state(id)).split(":")[2]
    jobs.give_back(id)
    assert str(jobs.state(id)).split(":")[2] == sent


def test_it_comes_again_after_its_delay(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert jobs.give_back(id, delay=30_000) == "b"
    assert jobs.waiting() == ["b", "c"]
    [(delayed, due)] = jobs.desk.admin.zrange(jobs.keys.delayed, 0, -1, withscores=True)
    assert delayed == id
    assert 25_000 < due - jobs.desk.now <= 30_000


def test_who_holds_nothing_gives_nothing_back(jobs: Shared) -> None:
    id = jobs.take_one(1)
    before = jobs.desk.everything()
    assert jobs.give_back(id, client="another") == "0"
    assert jobs.give_back(b"17") == "0"
    assert jobs.desk.everything() == before


def test_it_is_given_back_once(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert [jobs.give_back(id), jobs.give_back(id)] == ["b", "0"]
    assert jobs.waiting() == ["a", "b", "c"]


# Dead letters


@pytest.mark.parametrize(("deliveries", "answer"), [(1, "b"), (2, "b"), (3, "d"), (4, "d")])
def test_after_so_many_deliveries_it_is_a_dead_letter(jobs: Shared, deliveries: int, answer: str) -> None:
    for request in range(1, deliveries):
        jobs.give_back(jobs.take_one(request), most=99)
    id = jobs.take_one(deliveries)
    assert jobs.give_back(id, most=3) == answer


def test_a_dead_letter_is_kept_with_its_reason(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert jobs.give_back(id, most=1) == "d"
    assert jobs.report(id) == "1:max_deliveries:ValueError: a:b"
    assert jobs.desk.admin.hget(jobs.keys.payloads, id) == b"a"
    assert (jobs.state(id), jobs.holder(id)) == (None, None)
    [(dead, died)] = jobs.desk.admin.zrange(jobs.keys.dead, 0, -1, withscores=True)
    assert dead == id
    assert abs(jobs.desk.now - died) < 10_000
    assert jobs.waiting() == ["b", "c"]


def test_it_dies_once(jobs: Shared) -> None:
    id = jobs.take_one(1)
    assert [jobs.give_back(id, most=1), jobs.give_back(id, most=1)] == ["d", "0"]


def test_the_oldest_dead_letter_makes_room_and_leaves_nothing(jobs: Shared) -> None:
    ids = []
    for request in range(3):
        ids.append(jobs.take_one(request + 1))
        jobs.give_back(ids[-1], most=1, letters=2)
        jobs.desk.admin.zadd(jobs.keys.dead, {ids[-1]: request})
    assert jobs.desk.admin.zrange(jobs.keys.dead, 0, -1) == ids[1:]
    assert jobs.report(ids[0]) is None
    assert sorted(jobs.desk.admin.hgetall(jobs.keys.payloads)) == ids[1:]


# What was acknowledged for a receiver that was cancelled


def test_what_was_acknowledged_and_not_handed_over_comes_back(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.acknowledge(id)
    assert jobs.give_back(id, most=0, restore="a") == "b"
    assert jobs.waiting() == ["a", "b", "c"]
    assert jobs.take(2)[2] == (id, 1, b"a")


def test_it_is_restored_once(jobs: Shared) -> None:
    """Also if it was handled meanwhile: the answer was lost, and it is asked for again."""
    id = jobs.take_one(1)
    jobs.acknowledge(id)
    jobs.give_back(id, most=0, restore="a")
    assert jobs.give_back(id, most=0, restore="a") == "0"
    jobs.acknowledge(jobs.take_one(1, client="another"), client="another")
    before = jobs.desk.everything()
    assert jobs.give_back(id, most=0, restore="a") == "0"
    assert jobs.desk.everything() == before


def test_what_another_holds_by_now_is_not_restored(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.desk.admin.hset(jobs.keys.held, id, "another")
    assert jobs.give_back(id, most=0, restore="a") == "0"
    assert jobs.holder(id) == "another"


def test_a_dead_letter_is_not_restored(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.give_back(id, most=1)
    assert jobs.give_back(id, most=0, restore="a") == "0"
    assert jobs.waiting() == ["b", "c"]


def test_what_is_given_back_leaves_no_marks_behind(desk: Desk) -> None:
    """Of a channel that had none any more."""
    jobs = desk.channel()
    jobs.push(1, "a")
    id = jobs.take_one(1)
    desk.admin.delete(jobs.keys.marks)
    jobs.give_back(id, most=0)
    assert not desk.admin.exists(jobs.keys.marks)
