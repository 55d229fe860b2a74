"""Removing an inbox."""

from typing import Any

import pytest

from fast_channels.layers.redis.scripts import BURY
from tests.layers.redis.lua.conftest import LEASE, Desk, Inbox
from tests.layers.redis.lua.test_append import control, direct, to_group


def bury(inbox: Inbox, epoch: int | str = "") -> Any:
    return inbox.desk.run(BURY, inbox.keys, epoch)


def inbox_of(desk: Desk, lease: int = LEASE) -> Inbox:
    inbox = desk.inbox()
    inbox.attend(lease=lease)
    desk.admin.sadd(inbox.keys.groups, "room", "hall")
    return inbox


def left(desk: Desk) -> set[bytes]:
    return {key for key in desk.everything() if b"|answered|" not in key}


def test_an_owner_that_closes_it_leaves_nothing(desk: Desk) -> None:
    inbox = inbox_of(desk)
    inbox.append(1, direct("x"))
    epoch, count, groups = bury(inbox, 1)
    assert (epoch, count, sorted(groups)) == (b"1", 1, [b"hall", b"room"])
    assert left(desk) == set()


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_owner_closes_its_own_life_only(desk: Desk, epoch: int) -> None:
    inbox = inbox_of(desk)
    before = desk.everything()
    assert bury(inbox, epoch) is None
    assert desk.everything() == before


@pytest.mark.parametrize(("lease", "buried"), [(LEASE, False), (60_000, False), (-1, True), (-LEASE, True)])
def test_others_remove_it_when_its_lease_is_over(desk: Desk, lease: int, *, buried: bool) -> None:
    inbox = inbox_of(desk, lease)
    before = desk.everything()
    assert (bury(inbox) is not None) is buried
    assert desk.everything() == ({} if buried else before)


def test_an_inbox_that_never_had_a_lease_is_removed(desk: Desk) -> None:
    inbox = inbox_of(desk)
    desk.admin.hdel(inbox.keys.meta, "until")
    assert bury(inbox) is not None


def test_it_is_removed_once(desk: Desk) -> None:
    inbox = inbox_of(desk, -1)
    assert bury(inbox) is not None
    assert bury(inbox) is None


def test_one_that_is_not_there_is_not_removed(desk: Desk) -> None:
    assert bury(desk.inbox("nobody")) is None
    assert bury(desk.inbox("nobody"), 1) is None


# What is lost with it


def test_what_was_not_handed_over_is_counted(desk: Desk) -> None:
    inbox = inbox_of(desk, -1)
    inbox.append(1, *[direct("x", "a")] * 3, *[direct("x", "b")] * 2, *[to_group("x")] * 4, control("x"))
    desk.admin.hset(inbox.keys.handed, mapping={"a": 2, "b": 2})
    assert bury(inbox)[1] == 1 + 4


def test_what_was_counted_below_zero_hides_nothing(desk: Desk) -> None:
    """A channel of which more was handed over than accepted, as far as the server knows."""
    inbox = inbox_of(desk, -1)
    inbox.append(1, direct("x", "a"), direct("x", "b"))
    desk.admin.hset(inbox.keys.handed, "a", 7)
    assert bury(inbox)[1] == 1


def test_a_long_stream_is_counted_to_its_end(desk: Desk) -> None:
    inbox = inbox_of(desk, -1)
    with desk.admin.pipeline(transaction=False) as pipeline:
        for _ in range(1_234):
            pipeline.xadd(inbox.keys.stream, {"g1|room": "x"})
        pipeline.execute()
    assert bury(inbox)[1] == 1_234
