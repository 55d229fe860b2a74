"""Taking messages of a shared channel."""

import pytest

from tests.layers.redis.lua.conftest import LEASE, Desk, Shared


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    jobs = desk.channel()
    jobs.push(1, *"abcde")
    return jobs


def payloads(answer: list[object]) -> list[bytes]:
    return [message[2] for message in answer[2:]]  # type: ignore[index]


def test_the_oldest_come_first_and_are_held(jobs: Shared) -> None:
    answer = jobs.take(1, 2)
    assert answer[:2] == [0, -1]
    assert payloads(answer) == [b"a", b"b"]
    assert [deliveries for _, deliveries, _ in answer[2:]] == [1, 1]
    assert [jobs.holder(id) for id, _, _ in answer[2:]] == ["worker", "worker"]
    assert jobs.waiting() == ["c", "d", "e"]


def test_a_message_goes_to_one(jobs: Shared) -> None:
    taken = [payloads(jobs.take(1, 2, client)) for client in ("one", "two", "three", "four")]
    assert taken == [[b"a", b"b"], [b"c", b"d"], [b"e"], []]


def test_a_request_that_was_answered_gets_what_it_got(jobs: Shared) -> None:
    first = jobs.take(1, 2)
    assert jobs.take(1, 2) == first
    assert payloads(jobs.take(2, 2)) == [b"c", b"d"]


def test_a_request_that_is_repeated_gets_what_is_still_its_own(jobs: Shared) -> None:
    [_, _, (first, _, _), (second, _, _), (third, _, _)] = jobs.take(1, 3)
    jobs.acknowledge(first)
    jobs.desk.admin.hset(jobs.keys.held, second, "another")
    [_, _, (id, deliveries, _)] = jobs.take(1, 3)
    assert (id, deliveries) == (third, 1)


def test_a_request_that_got_nothing_gets_nothing_again(jobs: Shared) -> None:
    jobs.take(1, 5)
    assert jobs.take(2) == [0, -1]
    jobs.push(2, "late")
    assert jobs.take(2) == [0, -1]
    assert payloads(jobs.take(3)) == [b"late"]


def test_requests_of_others_are_not_mine(jobs: Shared) -> None:
    jobs.take(1, 1, "one")
    assert payloads(jobs.take(1, 1, "two")) == [b"b"]


# Expiry


def test_what_has_expired_is_counted_and_not_handed_over(jobs: Shared) -> None:
    jobs.expire_all()
    jobs.push(2, "young")
    assert payloads(answer := jobs.take(1, 2)) == [b"young"]
    assert answer[0] == 5
    assert jobs.desk.admin.hlen(jobs.keys.payloads) == 1


def test_what_was_delivered_before_never_expires(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.give_back(id)
    jobs.expire_all()
    assert jobs.take(2, 9)[2:] == [(id, 2, b"a")]


def test_what_was_taken_and_not_handed_over_expires(jobs: Shared) -> None:
    id = jobs.take_one(1)
    jobs.give_back(id, most=0)
    jobs.expire_all()
    assert jobs.take(2, 9) == [5, -1]


def test_what_was_taken_in_vain_makes_room_when_it_expires(jobs: Shared) -> None:
    """A channel that is full then looks in time."""
    assert jobs.push(2, "f", capacity=5) == "0:f"
    jobs.give_back(jobs.take_one(1), most=0)
    jobs.expire_all()
    assert jobs.push(3, "f", capacity=5) == "5:1"


# Delays


def test_who_waits_learns_when_the_next_delay_is_over(jobs: Shared) -> None:
    [_, _, (first, _, _), (second, _, _)] = jobs.take(1, 2)
    jobs.give_back(first, delay=60_000)
    jobs.give_back(second, delay=30_000)
    assert 25_000 < jobs.take(2)[1] <= 30_000


def test_what_was_delayed_comes_first_when_its_time_has_come_the_earliest_before_the_others(jobs: Shared) -> None:
    [_, _, *taken] = jobs.take(1, 3)
    for (id, _, _), due in zip(taken, (30, 10, 20), strict=True):
        jobs.give_back(id, delay=60_000)
        jobs.desk.admin.zadd(jobs.keys.delayed, {id: due})
    assert payloads(jobs.take(2, 9)) == [b"b", b"c", b"a", b"d", b"e"]


# The lease


def test_who_takes_has_a_lease(jobs: Shared) -> None:
    jobs.take(1)
    [(client, lease)] = jobs.desk.admin.hgetall(jobs.keys.leases).items()
    run, ends = (int(part) for part in lease.split(b":"))
    assert client == b"worker"
    assert ends - run == LEASE
    assert abs(jobs.desk.now - run) < 10_000


@pytest.mark.parametrize(
    ("ends", "goes_on"), [(LEASE, True), (LEASE - 1_500, True), (LEASE // 2 - 500, False), (0, False), (-9_000, False)]
)
def test_a_break_of_half_a_lease_begins_a_new_run(jobs: Shared, ends: int, *, goes_on: bool) -> None:
    """As where leases are kept: or a server that was stopped for a moment would let one rob the others."""
    jobs.set_lease("worker", -50_000, ends)
    before = jobs.desk.admin.hget(jobs.keys.leases, "worker")
    jobs.take(1)
    after = jobs.desk.admin.hget(jobs.keys.leases, "worker")
    assert before is not None
    assert after is not None
    assert (after.split(b":")[0] == before.split(b":")[0]) is goes_on


@pytest.mark.parametrize("state", ["", "garbage", "1:2", "0:0:9999999999999999999"])
def test_a_message_that_has_lost_its_state_is_taken_like_a_new_one(jobs: Shared, state: str) -> None:
    [first, *_] = jobs.desk.admin.lrange(jobs.keys.ready, 0, -1)
    jobs.desk.admin.hset(jobs.keys.states, first, state)
    assert jobs.take(1)[2:] == [(first, 1, b"a")]


@pytest.mark.parametrize("id", ["17", "garbage", b"\xff"])
def test_an_id_without_a_message_is_told_and_forgotten(jobs: Shared, id: bytes | str) -> None:
    jobs.desk.admin.lpush(jobs.keys.ready, id)
    assert [message[1:] for message in jobs.take(1)[2:]] == [(0, b"")]
    assert payloads(jobs.take(2)) == [b"a"]
