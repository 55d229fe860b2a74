"""Becoming a member of a group, and going on being one."""

import pytest

from fast_channels.layers.redis.scripts import JOIN
from tests.layers.redis.lua.conftest import Desk


def join(desk: Desk, member: str, lasts: int = 60_000, how: str = "", group: str = "room") -> None:
    assert desk.run(JOIN, (desk.names.group(group),), lasts, how, member) == 1


def members(desk: Desk) -> list[bytes]:
    return list(desk.admin.zrange(desk.names.group("room"), 0, -1))


def test_members_are_kept_by_when_their_membership_runs_out(desk: Desk) -> None:
    join(desk, "i:long:1", 90_000)
    join(desk, "i:short:1", 50_000)
    assert members(desk) == [b"i:short:1", b"i:long:1"]
    score = desk.admin.zscore(desk.names.group("room"), "i:short:1")
    assert score is not None
    assert 45_000 < score - desk.now <= 50_000


def test_a_membership_is_renewed(desk: Desk) -> None:
    join(desk, "i:one:1", 10_000)
    join(desk, "i:one:1", 90_000)
    score = desk.admin.zscore(desk.names.group("room"), "i:one:1")
    assert score is not None
    assert score - desk.now > 80_000


@pytest.mark.parametrize(("there", "expected"), [(True, [b"c:jobs"]), (False, [])])
def test_what_is_only_kept_up_is_not_made_again(desk: Desk, *, there: bool, expected: list[bytes]) -> None:
    """Another process has ended it."""
    if there:
        join(desk, "c:jobs", 10_000)
    join(desk, "c:jobs", 90_000, "XX")
    assert members(desk) == expected


def test_memberships_that_ran_out_are_removed(desk: Desk) -> None:
    key = desk.names.group("room")
    desk.admin.zadd(key, {"i:dead:1": desk.now - 1, "i:living:1": desk.now + 30_000})
    join(desk, "i:new:1")
    assert members(desk) == [b"i:living:1", b"i:new:1"]


def test_a_group_lasts_as_long_as_its_longest_membership(desk: Desk) -> None:
    join(desk, "i:long:1", 90_000)
    join(desk, "i:short:1", 1_000)
    assert 80_000 < desk.admin.pttl(desk.names.group("room")) <= 90_000
