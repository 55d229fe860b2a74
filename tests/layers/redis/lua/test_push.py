"""Adding a batch of messages to a shared channel."""

import pytest

from tests.layers.redis.lua.conftest import Desk, ResponseError, Shared


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    return desk.channel()


def test_a_batch_stands_in_its_order_at_the_end(jobs: Shared) -> None:
    assert jobs.push(1, "a", "b") == "0:11"
    assert jobs.push(2, "c") == "0:1"
    assert jobs.waiting() == ["a", "b", "c"]


def test_a_message_knows_when_it_came_and_when_it_expires(jobs: Shared) -> None:
    jobs.push(1, "a", expiry=5_000)
    [id] = jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)
    deliveries, expires, sent = (int(part) for part in str(jobs.state(id)).split(":"))
    assert deliveries == 0
    assert expires - sent == 5_000
    assert abs(jobs.desk.now - sent) < 10_000


@pytest.mark.parametrize(
    ("batches", "answers"),
    [([1, 1, 1], ["0:1f"] * 3), ([1, 2], ["0:1f", "0:ff"]), ([5, 5, 6, 6], ["0:1f", "0:1f", "0:ff", "0:ff"])],
    ids=["again", "next", "again and next"],
)
def test_a_number_that_was_seen_gets_the_answer_that_it_got(
    jobs: Shared, batches: list[int], answers: list[str]
) -> None:
    assert [jobs.push(number, "a", "b", capacity=1) for number in batches] == answers
    assert jobs.waiting() == ["a"]


def test_an_older_number_is_refused_and_changes_nothing(jobs: Shared) -> None:
    jobs.push(7, "a")
    before = jobs.desk.everything()
    with pytest.raises(ResponseError, match=r"^STALE a batch that its sender has given up"):
        jobs.push(6, "b")
    assert jobs.desk.everything() == before


def test_every_sender_has_numbers_of_its_own(jobs: Shared) -> None:
    assert [jobs.push(1, "x", sender=sender) for sender in "abcabc"] == ["0:1"] * 6
    assert len(jobs.waiting()) == 3


# Capacity and expiry


def test_a_channel_holds_its_capacity(jobs: Shared) -> None:
    assert jobs.push(1, *"abcde", capacity=3) == "0:111ff"
    assert jobs.push(2, "f", capacity=3) == "0:f"
    assert jobs.push(3, "g", capacity=4) == "0:1"
    assert jobs.waiting() == ["a", "b", "c", "g"]


def test_a_full_channel_stores_nothing(jobs: Shared) -> None:
    jobs.push(1, "a", capacity=1)
    admin, keys = jobs.desk.admin, jobs.keys
    before = [admin.dump(key) for key in (keys.ready, keys.payloads, keys.states)]
    assert jobs.push(2, "b", capacity=1) == "0:f"
    assert [admin.dump(key) for key in (keys.ready, keys.payloads, keys.states)] == before


def test_what_is_held_takes_no_room_and_what_waits_for_its_delay_does(jobs: Shared) -> None:
    jobs.push(1, "a", "b", capacity=2)
    id = jobs.take_one(1)
    assert jobs.push(2, "c", "d", capacity=2) == "0:1f"
    jobs.take(2, 2)
    jobs.give_back(id, delay=60_000)
    assert jobs.push(3, "e", "f", capacity=2) == "0:1f"


def test_what_has_expired_makes_room_and_is_counted(jobs: Shared) -> None:
    jobs.push(1, "a", "b", "c", capacity=3)
    jobs.expire_all()
    assert jobs.push(2, "d", "e", "f", "g", capacity=3) == "3:111f"
    assert jobs.waiting() == ["d", "e", "f"]
    assert jobs.desk.admin.hlen(jobs.keys.payloads) == jobs.desk.admin.hlen(jobs.keys.states) == 3


def test_what_has_expired_makes_room_wherever_it_stands(jobs: Shared) -> None:
    jobs.push(1, "old", "young", "old too", capacity=3)
    first, _, last = jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)
    for id in (first, last):
        jobs.desk.admin.hset(jobs.keys.states, id, "0:1:1")
    jobs.desk.admin.hset(jobs.keys.marks, "sweep", 1)
    assert jobs.push(2, "new", capacity=3) == "2:1"
    assert jobs.waiting() == ["young", "new"]


def test_the_count_of_what_expired_is_not_repeated(jobs: Shared) -> None:
    jobs.push(1, "a", capacity=1)
    jobs.expire_all()
    assert [jobs.push(2, "b", capacity=1) for _ in range(2)] == ["1:1", "0:1"]


def test_what_was_delivered_before_never_expires(jobs: Shared) -> None:
    jobs.push(1, "a", "b", capacity=2)
    id = jobs.take_one(1)
    jobs.give_back(id)
    jobs.expire_all()
    assert jobs.push(2, "c", "d", capacity=2) == "1:1f"
    assert jobs.waiting() == ["a", "c"]


@pytest.mark.parametrize("first", [60_000, 5_000])
def test_a_full_channel_looks_as_soon_as_the_next_message_expires(jobs: Shared, first: int) -> None:
    """Whatever was found when it looked before."""
    jobs.push(1, "a", capacity=1, expiry=first)
    assert jobs.push(2, "b", capacity=1) == "0:f"
    jobs.take(1)
    jobs.push(3, "c", capacity=1, expiry=20_000)
    jobs.expire_all()
    assert jobs.push(4, "d", capacity=1) == "1:1"


def test_a_full_channel_is_not_searched_for_each_message(jobs: Shared) -> None:
    jobs.push(1, "a", capacity=1)
    jobs.push(2, "b", capacity=1)
    [id] = jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)
    jobs.desk.admin.hset(jobs.keys.states, id, "0:1:1")  # nobody knows that it has expired
    assert jobs.push(3, "c", capacity=1) == "0:f"


def test_a_message_without_a_state_takes_no_room_for_ever(jobs: Shared) -> None:
    jobs.push(1, "a", capacity=1)
    jobs.desk.admin.delete(jobs.keys.states, jobs.keys.marks)
    assert jobs.push(2, "b", capacity=1) == "1:1"
    assert jobs.waiting() == ["b"]


# Numbers


def test_the_numbers_of_messages_never_come_twice(jobs: Shared) -> None:
    """Also if the server loses everything in between: somebody may hold one of before."""
    jobs.push(1, "a", "b")
    before = [int(id) for id in jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)]
    jobs.desk.admin.delete(*jobs.desk.everything())
    jobs.push(1, "c")
    [after] = [int(id) for id in jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)]
    assert before[0] + 1 == before[1] < after < 2**53


def test_an_empty_channel_leaves_nothing_for_ever(jobs: Shared) -> None:
    jobs.push(1, "a")
    jobs.acknowledge(jobs.take_one(1))
    left = jobs.desk.everything()
    assert left
    assert all(jobs.desk.admin.pttl(key) > 0 for key in left)


def test_what_waits_has_no_end_but_its_own(jobs: Shared) -> None:
    jobs.push(1, "a")
    assert [jobs.desk.admin.pttl(key) for key in (jobs.keys.ready, jobs.keys.payloads, jobs.keys.states)] == [-1] * 3
