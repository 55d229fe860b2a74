"""Appending a batch of messages to an inbox."""

import pytest

from tests.layers.redis.lua.conftest import Desk, Inbox, ResponseError

Message = tuple[str | int, str, str, str]


def direct(payload: str, channel: str = "s.owner!a", capacity: int = 100) -> Message:
    return (capacity, channel, f"d60000|{channel}", payload)


def to_group(payload: str, epoch: int = 1) -> Message:
    return ("", str(epoch), "g60000|room", payload)


def control(payload: str) -> Message:
    return ("", "", "k0|", payload)


@pytest.fixture
def inbox(desk: Desk) -> Inbox:
    inbox = desk.inbox()
    inbox.attend()
    return inbox


def test_a_batch_is_one_entry_of_heads_and_payloads_in_their_order(inbox: Inbox) -> None:
    assert inbox.append(1, direct("x"), to_group("y"), control("z")) == "111"
    [entry] = inbox.entries()
    assert list(entry.items()) == [(b"d60000|s.owner!a", b"x"), (b"g60000|room", b"y"), (b"k0|", b"z")]
    assert inbox.meta()["in"] == "3"


def test_equal_heads_are_kept_apart(inbox: Inbox) -> None:
    inbox.append(1, direct("x"), direct("x"), direct("y"))
    head = b"d60000|s.owner!a"
    assert inbox.fields() == [head, b"x", head, b"x", head, b"y"]


@pytest.mark.parametrize(
    ("batches", "answers"),
    [
        ([1, 1, 1], ["1f", "1f", "1f"]),
        ([1, 2], ["1f", "ff"]),
        ([5, 5, 6, 6], ["1f", "1f", "ff", "ff"]),
    ],
    ids=["again", "next", "again and next"],
)
def test_a_number_that_was_seen_gets_the_answer_that_it_got(
    inbox: Inbox, batches: list[int], answers: list[str]
) -> None:
    messages = (direct("x", capacity=1), direct("y", capacity=1))
    assert [inbox.append(number, *messages) for number in batches] == answers
    assert len(inbox.entries()) == 1


def test_an_older_number_is_refused_and_changes_nothing(inbox: Inbox) -> None:
    inbox.append(7, direct("x"))
    before = inbox.desk.everything()
    with pytest.raises(ResponseError, match=r"^STALE a batch that its sender has given up"):
        inbox.append(6, direct("y"))
    assert inbox.desk.everything() == before


def test_every_sender_has_numbers_of_its_own(inbox: Inbox) -> None:
    assert [inbox.append(1, direct("x"), sender=sender) for sender in "abcabc"] == ["1"] * 6
    assert len(inbox.entries()) == 3


def test_an_answer_is_kept_for_a_while_only(inbox: Inbox) -> None:
    inbox.append(1, direct("x"))
    answered = inbox.desk.names.answered(inbox.keys.meta, "sender")
    assert 0 < inbox.desk.admin.pttl(answered) <= 60_000


def test_an_inbox_that_is_not_there_stores_nothing(desk: Desk) -> None:
    inbox = desk.inbox("nobody")
    assert inbox.append(1, direct("x"), to_group("y"), control("z")) == "ggg"
    assert list(desk.everything()) == [desk.names.answered(inbox.keys.meta, "sender")]


@pytest.mark.parametrize(("epoch", "answer"), [(1, "1"), (0, "g"), (2, "g"), ("01", "g")])
def test_a_group_reaches_only_the_life_of_the_inbox_that_joined(inbox: Inbox, epoch: int, answer: str) -> None:
    assert inbox.append(1, to_group("x", epoch)) == answer
    assert len(inbox.entries()) == (answer == "1")


# Capacity


def test_a_channel_holds_its_capacity_and_no_other_channel_suffers(inbox: Inbox) -> None:
    many = [direct(str(number), capacity=3) for number in range(5)]
    assert inbox.append(1, *many, direct("x", "s.owner!b", 3)) == "111ff1"
    assert inbox.append(2, *many, direct("x", "s.owner!b", 3)) == "fffff1"
    assert inbox.counts() == ({"s.owner!a": 3, "s.owner!b": 2}, {})


def test_the_capacity_of_each_sender_counts_for_its_own_messages(inbox: Inbox) -> None:
    assert inbox.append(1, direct("x", capacity=1), direct("x", capacity=1), direct("x", capacity=2)) == "1f1"


def test_what_was_handed_over_makes_room(inbox: Inbox) -> None:
    inbox.append(1, *[direct("x", capacity=3)] * 3)
    inbox.desk.admin.hset(inbox.keys.handed, "s.owner!a", 2)
    assert inbox.append(2, *[direct("x", capacity=3)] * 3) == "11f"


def test_what_waits_is_counted_on_after_the_server_has_lost_its_count(inbox: Inbox) -> None:
    inbox.desk.admin.hset(inbox.keys.handed, "s.owner!a", -2)
    assert inbox.append(1, *[direct("x", capacity=3)] * 3) == "1ff"


def test_group_messages_and_control_entries_have_no_capacity(inbox: Inbox) -> None:
    inbox.append(1, direct("x", capacity=1))
    assert inbox.append(2, *[to_group("x")] * 50, *[control("x")] * 50) == "1" * 100


def test_a_full_channel_stores_nothing(inbox: Inbox) -> None:
    inbox.append(1, direct("x", capacity=1))
    before = inbox.desk.everything()
    assert inbox.append(2, direct("x", capacity=1)) == "f"
    after = inbox.desk.everything()
    answered = inbox.desk.names.answered(inbox.keys.meta, "sender")
    assert {key: value for key, value in before.items() if key != answered} == {
        key: value for key, value in after.items() if key != answered
    }


# The bound of the whole inbox


def test_an_inbox_is_bounded_as_a_whole(inbox: Inbox) -> None:
    messages = [direct("x"), to_group("x"), control("x")] * 2
    assert inbox.append(1, *messages, bound=4) == "1111oo"
    assert inbox.append(2, *messages, bound=4) == "oooooo"
    assert inbox.counts()[0] == {"s.owner!a": 2}


def test_what_was_read_makes_room_in_the_inbox(inbox: Inbox) -> None:
    inbox.append(1, *[direct("x")] * 4, bound=4)
    inbox.desk.admin.hset(inbox.keys.meta, "out", 3)
    assert inbox.append(2, *[direct("x")] * 4, bound=4) == "111o"


def test_a_message_that_is_over_a_capacity_takes_no_room_in_the_inbox(inbox: Inbox) -> None:
    assert inbox.append(1, *[direct("x", capacity=1)] * 3, to_group("y"), bound=2) == "1ff1"


def test_the_largest_batch_fits(inbox: Inbox) -> None:
    assert inbox.append(1, *[direct("x", f"s.owner!{number}") for number in range(256)]) == "1" * 256
    assert len(inbox.counts()[0]) == 256
