"""The lease of a client, and who is told whose lease is over."""

import pytest

from fast_channels.layers.redis.scripts import LEASE_SCRIPT
from tests.layers.redis.lua.conftest import LEASE, Desk


class Leases:
    def __init__(self, desk: Desk) -> None:
        self.admin = desk.admin
        self.desk = desk
        self.keys = desk.names.leases()

    def keep(self, client: str, lease: int = LEASE, most: int = 16) -> list[str]:
        return [other.decode() for other in self.desk.run(LEASE_SCRIPT, self.keys, client, lease, most)]

    def set(self, client: str, run: int, ends: int) -> None:
        """Begin the run of `client` so many milliseconds from now, and end its lease."""
        now = self.desk.now
        self.admin.zadd(self.keys[0], {client: now + ends})
        self.admin.hset(self.keys[1], client, now + run)

    def run_of(self, client: str) -> int:
        return int(self.admin.hget(self.keys[1], client) or 0)


@pytest.fixture
def leases(desk: Desk) -> Leases:
    return Leases(desk)


def test_the_first_sign_of_life_begins_a_run(leases: Leases) -> None:
    assert leases.keep("one") == []
    ends = leases.admin.zscore(leases.keys[0], "one")
    assert ends is not None
    assert ends - leases.run_of("one") == LEASE


def test_who_has_not_kept_it_for_a_whole_lease_is_told_of_nobody(leases: Leases) -> None:
    """A server that was stopped has let every lease run out: whoever lives comes back in that time."""
    leases.set("dead", -90_000, -60_000)
    assert leases.keep("new") == []
    leases.set("new", -LEASE + 1_000, LEASE - 1_000)
    assert leases.keep("new") == []
    leases.set("new", -LEASE, LEASE - 1_000)
    assert leases.keep("new") == ["dead"]


@pytest.mark.parametrize(
    ("ends", "goes_on"), [(LEASE, True), (LEASE - 1_500, True), (LEASE // 2 - 500, False), (0, False), (-9_000, False)]
)
def test_a_break_of_half_a_lease_begins_a_new_run(leases: Leases, ends: int, *, goes_on: bool) -> None:
    leases.set("dead", -90_000, -60_000)
    leases.set("one", -50_000, ends)
    before = leases.run_of("one")
    assert leases.keep("one") == (["dead"] if goes_on else [])
    assert (leases.run_of("one") == before) is goes_on


def test_a_run_that_is_lost_begins_again(leases: Leases) -> None:
    leases.set("dead", -90_000, -60_000)
    leases.set("one", -50_000, LEASE)
    leases.admin.delete(leases.keys[1])
    assert leases.keep("one") == []


def test_who_lives_is_not_named(leases: Leases) -> None:
    leases.set("one", -50_000, LEASE)
    for client, ends in (("living", 1_000), ("dead", -1), ("long dead", -90_000)):
        leases.set(client, -90_000, ends)
    assert leases.keep("one") == ["long dead", "dead"]


def test_so_many_are_named_at_a_time_and_the_longest_dead_first(leases: Leases) -> None:
    leases.set("one", -50_000, LEASE)
    for number in range(10):
        leases.set(f"dead{number}", -90_000, -10_000 - 1_000 * number)
    assert leases.keep("one", most=3) == ["dead9", "dead8", "dead7"]


def test_all_who_were_away_while_the_server_was_stopped_come_back_in_any_order(leases: Leases) -> None:
    clients = [f"worker{number}" for number in range(8)]
    for client in clients:
        leases.set(client, -90_000, -10_000)
    for client in [*clients, *reversed(clients)]:
        assert leases.keep(client) == []
