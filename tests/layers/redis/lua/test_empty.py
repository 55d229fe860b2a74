"""Dropping what waits in an inbox, and its memberships."""

from fast_channels.layers.redis.scripts import EMPTY
from tests.layers.redis.lua.conftest import Desk, Inbox
from tests.layers.redis.lua.test_append import direct, to_group


def empty(inbox: Inbox) -> int:
    answer: int = inbox.desk.run(EMPTY, inbox.keys, "f0|")
    return answer


def test_what_waited_is_gone_and_the_owner_is_told_how_many_there_were(desk: Desk) -> None:
    inbox = desk.inbox()
    inbox.attend()
    inbox.append(1, direct("x"), to_group("x"))
    desk.admin.hset(inbox.keys.handed, "s.owner!a", 1)
    desk.admin.sadd(inbox.keys.groups, "room")
    assert empty(inbox) == 1
    assert inbox.entries() == [{b"f0|": b"2"}]
    assert inbox.counts() == ({}, {})
    assert not desk.admin.exists(inbox.keys.groups)


def test_there_is_room_for_as_many_as_before(desk: Desk) -> None:
    inbox = desk.inbox()
    inbox.attend()
    inbox.append(1, *[direct("x", capacity=3)] * 3, bound=3)
    empty(inbox)
    assert inbox.append(2, *[direct("x", capacity=3)] * 3, to_group("x"), bound=3) == "111o"


def test_what_comes_next_comes_after_it(desk: Desk) -> None:
    inbox = desk.inbox()
    inbox.attend()
    inbox.append(1, direct("x"))
    [before] = inbox.ids()
    empty(inbox)
    inbox.append(2, direct("y"))
    assert [list(entry) for entry in inbox.entries()] == [[b"f0|"], [b"d60000|s.owner!a"]]
    assert all(tuple(map(int, id.split("-"))) > tuple(map(int, before.split("-"))) for id in inbox.ids())


def test_an_inbox_that_is_not_there_is_not_made(desk: Desk) -> None:
    assert empty(desk.inbox()) == 0
    assert desk.everything() == {}


def test_its_life_goes_on(desk: Desk) -> None:
    inbox = desk.inbox()
    inbox.attend()
    empty(inbox)
    assert inbox.attend(1)[1] == 0
