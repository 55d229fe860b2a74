"""Whoever checks the promise finds what breaks it, and nothing else."""

import pytest

from tests.faults.promise import Heard, Listener, Outcome, Sender, Sent, broken


def sender(*outcomes: Outcome) -> Sender:
    """Sends one message a second."""
    sent = [Sent(number, float(number), outcome) for number, outcome in enumerate(outcomes, start=1)]
    return Sender("s", sent, len(sent))


def listener(*log: int | str | tuple[str, float]) -> Listener:
    heard = []
    for entry in log:
        if isinstance(entry, int):
            heard.append(Heard("message", entry + 0.1, "s", entry))
        else:
            kind, at = entry if isinstance(entry, tuple) else (entry, 0.0)
            heard.append(Heard(kind, at))  # type: ignore[arg-type]
    return Listener(heard)


A: Outcome = "acknowledged"
U: Outcome = "unknown"
N: Outcome = "unreachable"


@pytest.mark.parametrize(
    ("outcomes", "log"),
    [
        ([], []),
        ([A, A, A], [1, 2, 3]),
        ([A, U, A], [1, 3]),
        ([A, U, A], [1, 2, 3]),
        ([A, U, A], [1, 3, 2]),
        ([A, N, A], [1, 3]),
        ([A, A, A, A], [1, "down", ("gap", 3.5), 4]),
        ([A, A, A, A], [1, "down", 4, ("gap", 4.2)]),
        ([A, A], ["down", ("gap", 1.5), 2]),
        ([A, A], [1, "down", ("gap", 9.0)]),
        ([A, A, A, A, A], [1, "down", ("gap", 2.5), "down", ("gap", 4.5), 5]),
    ],
)
def test_what_keeps_the_promise_is_not_blamed(
    outcomes: list[Outcome], log: list[int | str | tuple[str, float]]
) -> None:
    assert broken(sender(*outcomes), listener(*log)) == []


@pytest.mark.parametrize(
    ("outcomes", "log", "complaint"),
    [
        ([A, A], [1, 2, 2], "2 arrived 2 times"),
        ([A, U], [1, 2, 2], "2 arrived 2 times"),
        ([A, A], [2, 1], "2 arrived before 1"),
        ([A, N], [1, 2], "2 arrived, and its sender was told that nothing was sent"),
        ([A, A, A], [1, 3], "2 was acknowledged and is missing without a word"),
        ([A, A, A], [2, 3], "1 was acknowledged and is missing without a word"),
        ([A, A, A], [1, 2], "3 was acknowledged and is missing without a word"),
        ([A, A, A, A], [1, "down", ("gap", 2.5), 4], "3 was acknowledged and is missing without a word"),
        ([A, A, A, A], [1, "down", ("gap", 2.5), 2, 4], "3 was acknowledged and is missing without a word"),
        ([A, A], [1, "down", 2], "an outage was never reported as over"),
    ],
)
def test_what_breaks_the_promise_is_named(
    outcomes: list[Outcome], log: list[int | str | tuple[str, float]], complaint: str
) -> None:
    assert broken(sender(*outcomes), listener(*log)) == [complaint]


def test_what_was_counted_as_dropped_is_not_missed() -> None:
    assert broken(sender(A, A, A, A), listener(1, 4), dropped=2) == []
    assert len(broken(sender(A, A, A, A), listener(1, 4), dropped=1)) == 2
