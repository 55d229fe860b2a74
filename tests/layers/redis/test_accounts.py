"""What the server is told of what was handed over: totals, which may be told late and twice."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.accounts import Account, Accounts, pairs


class Told:
    """Accounts, and how often they said that there is something to tell."""

    def __init__(self) -> None:
        self.times = 0
        self.accounts = Accounts(self.tell)

    def tell(self) -> None:
        self.times += 1

    def receive(self, channel: str, count: int = 1, handed: int = 0) -> Account:
        accounts = [self.accounts.receive(channel) for _ in range(count)]
        for _ in range(handed):
            self.accounts.hand_over(accounts[0])
        return accounts[0]

    def take(self) -> tuple[list[str], dict[str, int]]:
        gone, changed = self.accounts.take()
        return sorted(gone), {account.channel: account.handed for account in changed}


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_was_received_and_not_handed_over_is_nothing_to_tell(told: Told) -> None:
    told.receive("a", 3)
    assert not told.accounts.changed
    assert told.take() == ([], {})


def test_a_channel_has_one_account(told: Told) -> None:
    assert told.receive("a") is told.receive("a")
    assert repr(told.receive("a", handed=1)) == "<Account of 'a': 1 handed over, 2 pending>"


def test_totals_are_told_since_the_beginning(told: Told) -> None:
    told.receive("a", 3, handed=2)
    assert told.take() == ([], {"a": 2})
    assert told.take() == ([], {})
    told.receive("a", 1, handed=1)
    assert told.take() == ([], {"a": 3})


def test_that_there_is_something_to_tell_is_said_once(told: Told) -> None:
    told.receive("a", 3, handed=3)
    told.receive("b", 1, handed=1)
    told.accounts.release("c")
    assert told.times == 1
    told.take()
    told.receive("a", 1, handed=1)
    assert told.times == 2


def test_a_channel_that_is_gone_is_told_and_its_account_forgotten(told: Told) -> None:
    account = told.receive("a", 3, handed=1)
    told.accounts.release("a")
    told.accounts.hand_over(account)  # by who had taken it before
    assert told.take() == (["a"], {})
    assert told.receive("a", 1, handed=1) is not account
    assert told.take() == ([], {"a": 1})


def test_a_channel_that_never_had_a_message_is_told_too(told: Told) -> None:
    """The server may have accepted some that were not read yet."""
    told.accounts.release("a")
    assert told.take() == (["a"], {})


def test_when_the_server_has_lost_its_counts_what_waits_counts(told: Told) -> None:
    told.receive("a", 5, handed=2)
    told.receive("b", 1, handed=1)
    told.take()
    told.accounts.recount()
    assert told.take() == ([], {"a": -3, "b": 0})
    told.receive("a", 1, handed=4)
    assert told.take() == ([], {"a": 1})


def test_after_a_flush_everything_begins_again(told: Told) -> None:
    old = told.receive("a", 5, handed=2)
    told.accounts.release("b")
    told.accounts.clear()
    assert not told.accounts.changed
    told.accounts.hand_over(old)
    assert told.take() == ([], {})
    told.receive("a", 1, handed=1)
    assert told.take() == ([], {"a": 1})


# A server that could not be told


def test_what_could_not_be_told_is_told_later_as_it_is_then(told: Told) -> None:
    account = told.receive("a", 3, handed=1)
    told.accounts.release("c")
    gone, changed = told.accounts.take()
    told.accounts.hand_over(account)
    told.accounts.put_back(gone, changed)
    assert told.take() == (["c"], {"a": 2})


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (lambda told: told.accounts.release("a"), (["a", "c"], {})),
        (lambda told: told.receive("c", 1, handed=1), ([], {"a": 1, "c": 1})),
        (lambda told: told.accounts.clear(), (["c"], {})),
        (lambda told: told.receive("a", 1, handed=1), (["c"], {"a": 2})),
    ],
    ids=["gone", "back", "flushed", "more"],
)
def test_what_happened_meanwhile_is_not_undone(
    told: Told, meanwhile: Callable[[Told], object], expected: tuple[list[str], dict[str, int]]
) -> None:
    told.receive("a", 3, handed=1)
    told.accounts.release("c")
    gone, changed = told.accounts.take()
    meanwhile(told)
    told.accounts.put_back(gone, changed)
    assert told.take() == expected


def test_a_report_is_names_and_totals_in_turn(told: Told) -> None:
    accounts = [told.receive("a", 3, handed=2), told.receive("b", 1, handed=1)]
    assert list(pairs(accounts)) == ["a", 2, "b", 1]
    assert list(pairs([])) == []


actions = st.lists(
    st.tuples(st.sampled_from(["receive", "hand over", "release", "report", "fail"]), st.sampled_from("abc")),
    max_size=40,
)


@given(actions)
def test_in_the_end_the_server_knows_what_waits(steps: list[tuple[str, str]]) -> None:
    """Whatever order things happen in, and however many reports fail."""
    told, waiting, accepted, handed = Told(), dict[str, list[Account]](), dict[str, int](), dict[str, int]()

    def report() -> None:
        gone, changed = told.accounts.take()
        for channel in gone:
            accepted.pop(channel, None)
            handed.pop(channel, None)
        handed.update({account.channel: account.handed for account in changed})

    for action, channel in [*steps, ("report", "a")]:
        if action == "receive":
            accepted[channel] = accepted.get(channel, 0) + 1
            waiting.setdefault(channel, []).append(told.accounts.receive(channel))
        elif action == "hand over" and waiting.get(channel):
            told.accounts.hand_over(waiting[channel].pop())
        elif action == "release":
            waiting.pop(channel, None)
            told.accounts.release(channel)
            report()  # before anything else arrives for a channel of that name
        elif action == "report":
            report()
        elif action == "fail":
            told.accounts.put_back(*told.accounts.take())
    for channel in "abc":
        assert accepted.get(channel, 0) - handed.get(channel, 0) == len(waiting.get(channel, []))
