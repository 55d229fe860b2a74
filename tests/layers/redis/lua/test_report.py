"""The owner of an inbox reports what it has read and handed over."""

import pytest

from fast_channels.layers.redis.scripts import REPORT
from tests.layers.redis.lua.conftest import Desk, Inbox
from tests.layers.redis.lua.test_append import direct


@pytest.fixture
def inbox(desk: Desk) -> Inbox:
    inbox = desk.inbox()
    inbox.attend()
    for number in range(3):
        inbox.append(number + 1, direct("x", "a"), direct("x", "b"))
    return inbox


def report(
    inbox: Inbox,
    trim: str = "",
    read: int = 0,
    gone: tuple[str, ...] = (),
    handed: tuple[str | int, ...] = (),
    epoch: int = 1,
) -> int:
    answer: int = inbox.desk.run(REPORT, inbox.keys[:4], epoch, trim, read, len(gone), *gone, *handed)
    return answer


def test_what_was_read_is_deleted_and_counted(inbox: Inbox) -> None:
    first, second, third = inbox.ids()
    assert report(inbox, third, 4) == 1
    assert inbox.ids() == [third]
    assert inbox.meta()["out"] == "4"
    assert first < second


def test_all_that_was_read_may_be_deleted(inbox: Inbox) -> None:
    sent_at, _, number = inbox.ids()[-1].partition("-")
    report(inbox, f"{sent_at}-{int(number) + 1}", 6)
    assert inbox.ids() == []
    assert inbox.meta()["out"] == "6"


def test_a_server_that_is_behind_what_was_read_deletes_nothing_that_was_not(inbox: Inbox) -> None:
    """It took over, and its clock is late: what it has added stands behind what was read elsewhere."""
    before = inbox.ids()
    sent_at, _, number = before[-1].partition("-")
    for read in (f"{int(sent_at) + 1000}-0", f"{sent_at}-{int(number) + 2}"):
        assert report(inbox, read, 6) == 1
    assert inbox.ids() == before
    assert inbox.meta()["out"] == "0"


def test_without_news_nothing_is_deleted(inbox: Inbox) -> None:
    assert report(inbox, "", 4) == 1
    assert len(inbox.ids()) == 3
    assert inbox.meta()["out"] == "0"


def test_what_was_handed_over_makes_room(inbox: Inbox) -> None:
    assert inbox.append(9, direct("x", "a", 3), direct("x", "b", 3)) == "ff"
    report(inbox, handed=("a", 2))
    assert inbox.append(10, direct("x", "a", 3), direct("x", "b", 3)) == "1f"


def test_totals_may_be_reported_twice(inbox: Inbox) -> None:
    for _ in range(2):
        report(inbox, handed=("a", 2, "b", 1))
    assert inbox.counts() == ({"a": 3, "b": 3}, {"a": 2, "b": 1})


def test_a_channel_that_is_gone_is_forgotten(inbox: Inbox) -> None:
    report(inbox, handed=("a", 2, "b", 1))
    report(inbox, gone=("a", "never"), handed=("b", 2))
    assert inbox.counts() == ({"b": 3}, {"b": 2})


def test_a_channel_that_is_gone_and_back_begins_again(inbox: Inbox) -> None:
    report(inbox, gone=("a",), handed=("a", 0))
    assert inbox.append(9, *[direct("x", "a", 3)] * 4) == "111f"


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_report_about_another_life_changes_nothing(inbox: Inbox, epoch: int) -> None:
    before = inbox.desk.everything()
    assert report(inbox, inbox.ids()[-1], 4, ("a",), ("b", 3), epoch) == 0
    assert inbox.desk.everything() == before


def test_a_report_makes_no_inbox(desk: Desk) -> None:
    assert report(desk.inbox("nobody"), "1-1", 4, (), ("a", 1)) == 0
    assert desk.everything() == {}


def test_many_channels_fit_into_a_report(inbox: Inbox) -> None:
    many = [part for number in range(20_000) for part in (f"c{number}", 1)]
    assert report(inbox, gone=tuple(f"g{number}" for number in range(20_000)), handed=tuple(many)) == 1
    assert len(inbox.counts()[1]) == 20_000
