"""Who is a member of a group now."""

from fast_channels.layers.redis.scripts import MEMBERS
from tests.layers.redis.lua.conftest import Desk


def test_only_memberships_that_have_not_run_out_count(desk: Desk) -> None:
    key = desk.names.group("room")
    assert desk.run(MEMBERS, (key,)) == []
    desk.admin.zadd(key, {"i:dead:1": desk.now - 1, "i:living:1": desk.now + 60_000, "c:jobs": desk.now + 90_000})
    assert desk.run(MEMBERS, (key,)) == [b"i:living:1", b"c:jobs"]
    assert desk.admin.zcard(key) == 3


def test_no_group_is_too_large(desk: Desk) -> None:
    key = desk.names.group("room")
    desk.admin.zadd(key, dict.fromkeys((f"i:{number}:1" for number in range(20_000)), desk.now + 60_000))
    assert len(desk.run(MEMBERS, (key,))) == 20_000
