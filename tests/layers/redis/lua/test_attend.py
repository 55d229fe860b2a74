"""The owner of an inbox says that it is there."""

import pytest

from tests.layers.redis.lua.conftest import LASTS, LEASE, Desk, Inbox
from tests.layers.redis.lua.test_append import control, direct, to_group


@pytest.fixture
def inbox(desk: Desk) -> Inbox:
    return desk.inbox()


def fill(inbox: Inbox) -> None:
    inbox.append(1, direct("x"), to_group("y"))
    inbox.desk.admin.hset(inbox.keys.handed, "s.owner!a", 0)
    inbox.desk.admin.sadd(inbox.keys.groups, "room")


def test_an_inbox_that_is_not_there_is_made(inbox: Inbox) -> None:
    now, new, behind = inbox.attend()
    assert (new, behind) == (1, 0)
    assert abs(inbox.desk.now - now) < 10_000
    assert inbox.meta() == {"epoch": "1", "in": "0", "out": "0", "until": str(now + LEASE)}


def test_two_calls_of_an_owner_that_knows_of_no_inbox_make_one(inbox: Inbox) -> None:
    """On the connection that reads, and with a sign of life beside it."""
    assert inbox.attend()[1] == 1
    inbox.append(1, direct("x"))
    assert inbox.attend()[1] == 1
    assert len(inbox.entries()) == 1


def test_an_owner_that_knows_the_inbox_keeps_it_with_all_that_is_in_it(inbox: Inbox) -> None:
    inbox.attend()
    fill(inbox)
    now, new, behind = inbox.attend(1)
    assert (new, behind) == (0, 0)
    assert inbox.meta() == {"epoch": "1", "in": "2", "out": "0", "until": str(now + LEASE)}
    assert len(inbox.entries()) == 1


@pytest.mark.parametrize("epoch", [5, 0])
def test_an_inbox_of_another_epoch_is_made_anew_and_empty(inbox: Inbox, epoch: int) -> None:
    inbox.attend(2)
    fill(inbox)
    assert inbox.attend(epoch)[1] == 1
    assert inbox.meta()["epoch"] == str(epoch + 1)
    assert set(inbox.desk.everything()) - {inbox.desk.names.answered(inbox.keys.meta, "sender")} == {inbox.keys.meta}


def test_nothing_of_an_inbox_outlives_its_owner_for_ever(inbox: Inbox) -> None:
    inbox.attend()
    fill(inbox)
    inbox.attend(1)
    for key in inbox.keys:
        assert LASTS - 10_000 < inbox.desk.admin.pttl(key) <= LASTS


# A server that took over, and whose clock is behind


def far_ahead(inbox: Inbox) -> str:
    return f"{inbox.desk.now + 9_000_000}-3"


def test_what_is_added_comes_after_what_was_read(inbox: Inbox) -> None:
    inbox.attend()
    inbox.append(1, direct("before"))
    cursor = far_ahead(inbox)
    assert inbox.attend(1, cursor, new=True)[1:] == [0, 1]
    inbox.append(2, direct("after"))
    [_, after] = inbox.ids()
    assert after == cursor.replace("-3", "-4")


def test_a_stream_that_is_lost_goes_on_where_it_was(inbox: Inbox) -> None:
    inbox.attend()
    cursor = far_ahead(inbox)
    assert inbox.attend(1, cursor, new=True)[1:] == [0, 1]
    assert inbox.attend(1, cursor, new=True)[1:] == [0, 0]
    inbox.append(1, direct("after"))
    assert inbox.ids() == [cursor, cursor.replace("-3", "-4")]
    assert inbox.meta()["in"] == "1"


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_stream_that_is_not_behind_stays_as_it_is(inbox: Inbox, ahead: int) -> None:
    inbox.attend()
    for number in range(1 + ahead):
        inbox.append(number + 1, control("x"))
    [first, *_] = inbox.ids()
    assert inbox.attend(1, first, new=True)[1:] == [0, 0]
    assert len(inbox.ids()) == 1 + ahead


def test_ids_are_compared_as_numbers(inbox: Inbox) -> None:
    inbox.attend()
    inbox.desk.admin.xadd(inbox.keys.stream, {"-": ""}, id="1000-10")
    assert inbox.attend(1, "1000-9", new=True)[1:] == [0, 0]
    assert inbox.attend(1, "999-11", new=True)[1:] == [0, 0]
    assert inbox.attend(1, "1000-11", new=True)[1:] == [0, 1]


def test_who_has_read_nothing_is_ahead_of_nothing(inbox: Inbox) -> None:
    inbox.attend()
    assert inbox.attend(1, new=True)[1:] == [0, 0]
    assert inbox.ids() == []


def test_a_sign_of_life_on_a_connection_that_holds_looks_at_no_stream(inbox: Inbox) -> None:
    inbox.attend()
    assert inbox.attend(1, far_ahead(inbox))[1:] == [0, 0]
