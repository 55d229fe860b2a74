"""Keeping the lease on a shared channel, and giving back what the dead held."""

import pytest

from tests.layers.redis.lua.conftest import LEASE, Desk, Shared

OVER = (-90_000, -1)
"""A lease that is over by a millisecond."""

SETTLED = (-LEASE, LEASE - 1_000)
"""One that was kept without a break for a whole lease."""


@pytest.fixture
def jobs(desk: Desk) -> Shared:
    jobs = desk.channel()
    jobs.push(1, *"abcde")
    return jobs


def orphan(jobs: Shared, count: int = 2, client: str = "dead") -> list[bytes]:
    """What somebody held who is dead now."""
    [_, _, *taken] = jobs.take(1, count, client)
    jobs.set_lease(client, *OVER)
    return [id for id, _, _ in taken]


def test_what_the_dead_held_is_given_back_in_its_order(jobs: Shared) -> None:
    ids = orphan(jobs, 3)
    jobs.set_lease("worker", *SETTLED)
    assert jobs.keep() == [5, -1, 3, 0, ["dead"]]
    assert jobs.waiting() == ["a", "b", "c", "d", "e"]
    assert [jobs.holder(id) for id in ids] == [None] * 3
    assert jobs.take(1)[2] == (ids[0], 2, b"a")


def test_the_dead_are_forgotten(jobs: Shared) -> None:
    orphan(jobs)
    jobs.set_lease("worker", *SETTLED)
    jobs.keep()
    assert jobs.desk.admin.hkeys(jobs.keys.leases) == [b"worker"]
    assert not jobs.desk.admin.exists(jobs.keys.requests)
    assert jobs.keep() == [5, -1, 0, 0, []]


@pytest.mark.parametrize(
    ("run", "ends", "may"),
    [
        (-LEASE, LEASE - 1_000, True),
        (-LEASE + 1_000, LEASE - 1_000, False),
        (-90_000, LEASE // 2 + 500, True),
        (-90_000, LEASE // 2 - 500, False),
        (-90_000, -1, False),
        (0, LEASE, False),
    ],
    ids=["a lease long", "not yet", "late", "after a break", "after its end", "new"],
)
def test_nobody_is_robbed_by_who_was_not_there_for_a_whole_lease(
    jobs: Shared, run: int, ends: int, *, may: bool
) -> None:
    orphan(jobs, 2)
    jobs.set_lease("worker", run, ends)
    assert jobs.keep()[2] == (2 if may else 0)


def test_a_newcomer_robs_nobody(jobs: Shared) -> None:
    orphan(jobs)
    assert jobs.keep("new") == [3, -1, 0, 0, []]


def test_who_takes_after_a_break_may_not_rob_with_the_next_sign_of_life(jobs: Shared) -> None:
    """Taking renews the lease as well."""
    orphan(jobs)
    jobs.set_lease("worker", -90_000, LEASE // 2 - 500)
    jobs.take(1)
    assert jobs.keep()[2] == 0


def test_workers_that_were_all_away_rob_nobody_in_any_order(jobs: Shared) -> None:
    """The server was stopped for longer than a lease."""
    clients = [f"worker{number}" for number in range(5)]
    for client in clients:
        orphan(jobs, 1, client)
    for client in [*clients, *reversed(clients)]:
        assert jobs.keep(client)[2:] == [0, 0, []]


def test_the_living_keep_what_they_hold(jobs: Shared) -> None:
    [_, _, *mine] = jobs.take(1, 1, "worker")
    [_, _, *others] = jobs.take(1, 1, "living")
    dead = orphan(jobs, 1)
    jobs.set_lease("worker", *SETTLED)
    jobs.set_lease("living", -90_000, 500)
    assert jobs.keep() == [3, -1, 1, 0, ["dead"]]
    assert [jobs.holder(id) for id in (mine[0][0], others[0][0], dead[0])] == ["worker", "living", None]


def test_what_somebody_holds_who_has_no_lease_at_all_is_given_back(jobs: Shared) -> None:
    orphan(jobs)
    jobs.desk.admin.delete(jobs.keys.leases)
    jobs.set_lease("worker", *SETTLED)
    assert jobs.keep()[2:] == [2, 0, ["dead"]]


def test_several_dead_are_named(jobs: Shared) -> None:
    for client in ("one", "two"):
        orphan(jobs, 1, client)
    jobs.set_lease("worker", *SETTLED)
    assert jobs.keep() == [5, -1, 2, 0, ["one", "two"]]
    assert jobs.waiting() == ["a", "b", "c", "d", "e"]


# Dead letters


@pytest.mark.parametrize(("most", "dead"), [(1, 2), (2, 0)])
def test_what_was_delivered_too_often_is_a_dead_letter(jobs: Shared, most: int, dead: int) -> None:
    ids = orphan(jobs)
    jobs.set_lease("worker", *SETTLED)
    assert jobs.keep(most=most) == [5 - dead, -1, 2 - dead, dead, ["dead"]]
    report = "1:max_deliveries:its worker died while it handled the message" if dead else None
    assert [jobs.report(id) for id in ids] == [report] * 2


def test_dead_letters_are_bounded(jobs: Shared) -> None:
    ids = orphan(jobs, 4)
    jobs.set_lease("worker", *SETTLED)
    assert jobs.keep(most=1, letters=3)[3] == 4
    assert jobs.desk.admin.zcard(jobs.keys.dead) == jobs.desk.admin.hlen(jobs.keys.reports) == 3
    assert jobs.desk.admin.hlen(jobs.keys.payloads) == 1 + 3
    assert jobs.desk.admin.hlen(jobs.keys.states) == 1
    assert ids


# Delays


def test_what_is_due_comes_before_what_waits(jobs: Shared) -> None:
    [_, _, *taken] = jobs.take(1, 3)
    for (id, _, _), due in zip(taken, (30, 10, 20), strict=True):
        jobs.give_back(id, delay=60_000)
        jobs.desk.admin.zadd(jobs.keys.delayed, {id: due})
    assert jobs.keep()[:2] == [5, -1]
    assert jobs.waiting() == ["b", "c", "a", "d", "e"]


def test_who_keeps_the_lease_learns_when_the_next_is_due(jobs: Shared) -> None:
    jobs.give_back(jobs.take_one(1), delay=30_000)
    assert 25_000 < jobs.keep()[1] <= 30_000
