"""From a name to the mailboxes that get the message, and one log line for each time that they are full."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.local import Group, LocalChannels, check_overflow_policy
from fast_channels.layers.mailbox import OVERFLOW_POLICIES, Counters
from fast_channels.layers.reader import EMPTY
from fast_channels.type_defs import OverflowPolicy

LOGGER = "fast_channels.layers"


def channels_of(capacity: int = 3, overflow: OverflowPolicy = "drop_newest") -> LocalChannels:
    return LocalChannels(lambda entry: [entry], lambda channel: capacity, overflow, Counters())


def members(local: LocalChannels, count: int, group: str = "room") -> list[str]:
    """New channels in `group`."""
    names = [f"{group}-{number}" for number in range(count)]
    for name in names:
        local.join(group, local.open(name))
    return names


def taken(local: LocalChannels, channel: str) -> list[Any]:
    found = []
    while (message := local.mailboxes[channel].take()) is not EMPTY:
        found += message
    return found


def log_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str]]:
    return caplog.record_tuples


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)


# Channels


def test_a_channel_is_opened_once() -> None:
    local = channels_of()
    assert local.open("a") is local.open("a")


def test_a_channel_has_its_own_capacity() -> None:
    local = LocalChannels(lambda entry: entry, {"a": 1, "b": 7}.__getitem__, "drop_oldest", Counters())
    assert (local.open("a").capacity, local.open("b").capacity) == (1, 7)
    assert local.open("a").policy == "drop_oldest"


def test_a_message_goes_to_its_channel() -> None:
    local = channels_of()
    local.open("a")
    local.open("b")
    assert local.deliver("a", 1)
    assert (taken(local, "a"), taken(local, "b")) == ([1], [])


def test_a_message_for_a_channel_that_is_not_here_is_counted() -> None:
    local = channels_of()
    assert not local.deliver("nobody", 1)
    assert local.counters.dropped == {"channel_gone": 1}
    assert not local.mailboxes


def test_releasing_a_channel_drops_and_counts_what_is_queued() -> None:
    local = channels_of()
    local.open("a")
    local.deliver("a", 1)
    local.deliver("a", 2)
    local.release("a")
    assert local.counters.dropped == {"channel_gone": 2}
    assert not local.mailboxes


def test_releasing_a_channel_that_is_not_here_is_no_error() -> None:
    assert channels_of().release("nobody") == []


def test_releasing_a_channel_tells_which_groups_have_nobody_left() -> None:
    local = channels_of()
    local.open("a")
    local.open("b")
    for group in ("alone", "both"):
        local.join(group, local.mailboxes["a"])
    local.join("both", local.mailboxes["b"])
    assert local.release("a") == ["alone"]
    assert list(local.groups) == ["both"]
    assert list(local.groups["both"].members) == ["b"]


def test_what_waits_is_listed_with_its_depth() -> None:
    local = channels_of()
    for channel, depth in {"a": 2, "b": 0, "c": 1}.items():
        local.open(channel)
        for number in range(depth):
            local.deliver(channel, number)
    assert dict(local.queued()) == {"a": 2, "c": 1}


def test_a_flush_leaves_the_channels_and_nothing_in_them() -> None:
    local = channels_of()
    [channel] = members(local, 1)
    held = local.mailboxes[channel]
    local.deliver(channel, 1)
    local.clear()
    assert (len(held), held.groups, dict(local.groups)) == (0, set(), {})
    local.deliver(channel, 2)
    assert held.take() == [2]


def test_closing_forgets_everything() -> None:
    local = channels_of()
    members(local, 2)
    local.close()
    assert repr(local) == "<LocalChannels: 0 channels, 0 groups>"


def test_the_channels_of_a_closed_loop_come_with_messages_and_memberships() -> None:
    local, gone = channels_of(), channels_of()
    [channel] = members(gone, 1)
    gone.deliver(channel, 1)
    local.take_over(gone)
    local.deliver_group("room", 2)
    assert taken(local, channel) == [1, 2]
    assert not gone.mailboxes
    assert not gone.groups


def test_a_channel_that_is_here_already_gets_the_messages_of_the_closed_loop_first() -> None:
    local, gone = channels_of(), channels_of()
    for number, channels in enumerate((gone, local)):
        channels.open("jobs")
        channels.deliver("jobs", number)
    gone.join("room", gone.mailboxes["jobs"])
    local.take_over(gone)
    local.deliver_group("room", 2)
    assert taken(local, "jobs") == [0, 1, 2]


# Groups


def test_a_message_goes_to_every_member() -> None:
    local = channels_of()
    names = members(local, 3)
    local.deliver_group("room", 1)
    assert [taken(local, name) for name in names] == [[1]] * 3


def test_a_group_without_members_here_is_no_error() -> None:
    local = channels_of()
    local.deliver_group("room", 1)
    assert local.counters.dropped == {}


def test_who_joins_is_told_whether_it_is_the_first() -> None:
    local = channels_of()
    joined = [local.join("room", local.open(channel)) for channel in ("a", "b", "a")]
    assert joined == [True, False, False]


def test_who_leaves_is_told_whether_it_was_the_last() -> None:
    local = channels_of()
    members(local, 2)
    assert [local.leave("room", f"room-{number}") for number in (0, 0, 1, 1)] == [False, False, True, False]
    assert not local.groups


def test_who_left_is_no_member_any_more() -> None:
    local = channels_of()
    first, second = members(local, 2)
    local.deliver_group("room", 1)
    local.leave("room", first)
    local.deliver_group("room", 2)
    assert (taken(local, first), taken(local, second)) == ([1], [1, 2])


def test_a_group_lists_its_members_in_the_order_in_which_they_joined() -> None:
    local = channels_of()
    members(local, 3)
    assert [mailbox.channel for mailbox in local.groups["room"].mailboxes] == ["room-0", "room-1", "room-2"]
    assert repr(local.groups["room"]) == "<Group 'room': 3 members>"


def test_members_that_come_and_go_do_not_disturb_a_send_under_way() -> None:
    local = channels_of()
    members(local, 2)
    under_way = local.groups["room"].mailboxes
    local.leave("room", "room-0")
    local.join("room", local.open("late"))
    assert [mailbox.channel for mailbox in under_way] == ["room-0", "room-1"]
    assert [mailbox.channel for mailbox in local.groups["room"].mailboxes] == ["room-1", "late"]


def test_a_member_that_joins_while_the_members_are_listed_is_listed_next_time() -> None:
    """Another thread changes the members in the middle of it."""
    group = Group("room")
    local = channels_of()
    late = local.open("late")

    class Members(dict[str, Any]):
        def values(self) -> Any:
            found = list(super().values())
            if "late" not in self:
                group.add(late)
            return found

    group.members = Members()
    group.add(local.open("early"))
    assert [mailbox.channel for mailbox in group.mailboxes] == ["early"]
    assert [mailbox.channel for mailbox in group.mailboxes] == ["early", "late"]


# Episodes of being full


def overfill(local: LocalChannels, names: list[str], capacity: int = 3) -> None:
    for name in names:
        for number in range(capacity):
            local.deliver(name, number)


def drain(local: LocalChannels) -> None:
    for mailbox in local.mailboxes.values():
        mailbox.clear()


def test_members_over_capacity_are_one_line_at_info(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of()
    names = members(local, 10)
    overfill(local, names[:2])
    local.deliver_group("room", 9)
    assert log_lines(caplog) == [(LOGGER, logging.INFO, "2 of 10 channels over capacity in group room")]
    assert local.counters.dropped == {"over_capacity": 2}


def test_an_episode_is_logged_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of()
    overfill(local, members(local, 2)[:1])
    for _ in range(5):
        local.deliver_group("room", 9)
        local.mailboxes["room-1"].clear()
    assert len(log_lines(caplog)) == 1
    assert local.counters.dropped == {"over_capacity": 5}


def test_a_message_taken_now_and_then_does_not_begin_another_episode(caplog: pytest.LogCaptureFixture) -> None:
    """Who takes one and gets two is full again and again: that is one overload."""
    local = channels_of(capacity=10)
    [name] = members(local, 1)
    for number in range(40):
        local.deliver_group("room", number)
        if number % 2:
            local.mailboxes[name].take()
    assert len(log_lines(caplog)) == 1


def test_a_second_episode_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of()
    names = members(local, 10)
    for _ in range(2):
        overfill(local, names[:2])
        local.deliver_group("room", 9)
        drain(local)
        local.deliver_group("room", 10)
        drain(local)
    assert [line for _, _, line in log_lines(caplog)] == ["2 of 10 channels over capacity in group room"] * 2


def test_each_group_has_its_own_episodes(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of()
    for group in ("one", "two"):
        overfill(local, members(local, 1, group))
        local.deliver_group(group, 9)
    assert [line for _, _, line in log_lines(caplog)] == [
        "1 of 1 channels over capacity in group one",
        "1 of 1 channels over capacity in group two",
    ]


@pytest.mark.parametrize("overflow", OVERFLOW_POLICIES)
def test_every_policy_logs(caplog: pytest.LogCaptureFixture, overflow: OverflowPolicy) -> None:
    local = channels_of(overflow=overflow)
    overfill(local, members(local, 1))
    local.deliver_group("room", 9)
    assert len(log_lines(caplog)) == 1


def test_a_channel_over_capacity_is_one_line_an_episode(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of()
    mailbox = local.open("a")
    for _ in range(2):
        for number in range(5):
            local.deliver("a", number)
        mailbox.clear()
        local.deliver("a", 0)
    assert [line for _, _, line in log_lines(caplog)] == ["channel a over capacity: drop_newest"] * 2


def test_a_handler_of_the_log_may_send_to_the_group_again() -> None:
    local = channels_of(capacity=1)
    names = members(local, 2)

    class Sending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            local.deliver_group("room", record.getMessage())

    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler := Sending())
    try:
        overfill(local, names, 1)
        local.deliver_group("room", 1)
    finally:
        logger.removeHandler(handler)
    assert local.counters.dropped == {"over_capacity": 4}


# Policies


@pytest.mark.parametrize("overflow", OVERFLOW_POLICIES)
def test_a_policy_is_one_of_three(overflow: str) -> None:
    check_overflow_policy(overflow)


@pytest.mark.parametrize("overflow", ["", "drop", "DROP_NEWEST", None])
def test_another_policy_is_refused_with_the_names_of_the_three(overflow: str) -> None:
    with pytest.raises(ValueError, match="overflow must be one of drop_newest, drop_oldest, close, not"):
        check_overflow_policy(overflow)


# Several groups, and who is left out

CHANNELS = st.sampled_from("abcdef")
GROUPS = st.sampled_from(["red", "green", "blue"])


@given(st.dictionaries(GROUPS, st.sets(CHANNELS)), st.lists(GROUPS, unique=True), st.frozensets(CHANNELS))
def test_the_union_of_the_groups_without_the_excluded_gets_it_once(
    joined: dict[str, set[str]], groups: list[str], excluded: frozenset[str]
) -> None:
    local = channels_of()
    for name in "abcdef":
        local.open(name)
    for group, names in joined.items():
        for name in names:
            local.join(group, local.open(name))
    local.deliver_groups(groups, "hello", excluded)
    wanted = set().union(*(joined.get(group, set()) for group in groups)) - excluded
    assert {name: taken(local, name) for name in "abcdef"} == {
        name: ["hello"] if name in wanted else [] for name in "abcdef"
    }


def test_a_full_member_of_several_groups_is_counted_and_logged_for_the_first(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of(capacity=1)
    [name, _] = members(local, 2)
    local.join("hall", local.mailboxes[name])
    local.deliver(name, "first")
    local.deliver_groups(["room", "hall"], "second", frozenset())
    assert local.counters.dropped == {"over_capacity": 1}
    assert log_lines(caplog) == [(LOGGER, logging.INFO, "1 of 2 channels over capacity in group room")]


def test_who_is_excluded_is_not_among_those_that_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of(capacity=1)
    names = members(local, 3)
    local.deliver_group("room", "first")
    local.deliver_groups(["room"], "second", frozenset({names[0]}))
    assert log_lines(caplog) == [(LOGGER, logging.INFO, "2 of 2 channels over capacity in group room")]


def test_leaving_out_who_is_full_ends_no_episode(caplog: pytest.LogCaptureFixture) -> None:
    local = channels_of(capacity=3)
    full, free = members(local, 2)
    for _ in range(3):
        local.deliver(full, "first")
    local.deliver_group("room", "second")
    taken(local, free)
    local.deliver_groups(["room"], "third", frozenset({full}))
    taken(local, free)
    local.deliver_group("room", "fourth")
    assert [line for *_, line in log_lines(caplog)] == ["1 of 2 channels over capacity in group room"]
    assert local.counters.dropped == {"over_capacity": 2}
