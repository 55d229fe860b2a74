"""The checker finds what is broken, and nothing else."""

from pathlib import Path

import pytest

from tests.faults.queue.ledger import Event, Ledger, Line, Log, Verdict, judge


def sent(number: int, event: Event = "acknowledged", channel: str = "jobs", began: float | None = None) -> Line:
    """Sends follow one another: each takes half of a second."""
    return Line(event, channel, "s", number, "s", number + 0.5, number if began is None else began)


def start(number: int, by: str = "w", channel: str = "jobs") -> Line:
    return Line("start", channel, "s", number, by, 100.0)


def end(number: int, by: str = "w", channel: str = "jobs") -> Line:
    return Line("end", channel, "s", number, by, 100.0)


def handled(*numbers: int, by: str = "w", channel: str = "jobs") -> list[Line]:
    return [line(number, by, channel) for number in numbers for line in (start, end)]


FINE = {
    "nothing happened": [],
    "all that was sent was handled": [sent(1), sent(2), *handled(1, 2)],
    "an unknown outcome, handled": [sent(1, "unknown"), *handled(1)],
    "an unknown outcome, not handled": [sent(1, "unknown")],
    "what was not stored was not handled": [sent(1, "full"), sent(2, "refused"), sent(3, "unreachable")],
    "two receivers, each in its own order": [sent(1), sent(2), *handled(2, by="a"), *handled(1, by="b")],
    "two at once have no order": [sent(1), sent(2, began=1.2), *handled(2, 1)],
    "two channels have no order": [sent(1), sent(2, channel="more"), *handled(2, channel="more"), *handled(1)],
}

BROKEN = {
    "never begun": ([sent(1)], "1) was acknowledged and is lost"),
    "begun and not ended": ([sent(1), start(1)], "1) was acknowledged and is lost"),
    "handled elsewhere": ([sent(1), *handled(1, channel="more")], "1) was acknowledged and is lost"),
    "full, and handled": ([sent(1, "full"), *handled(1)], "1) was handled, and was not stored"),
    "refused, and handled": ([sent(1, "refused"), *handled(1)], "1) was handled, and was not stored"),
    "unreachable, and begun": ([sent(1, "unreachable"), start(1)], "1) was handled, and was not stored"),
    "sent by nobody": ([start(1)], "1) was handled, and was not stored"),
}

TWICE_OR_OUT_OF_ORDER = {
    "handled twice": ([sent(1), *handled(1, 1)], "1) was handed over 2 times"),
    "handled by two": ([sent(1), *handled(1, by="a"), *handled(1, by="b")], "1) was handed over 2 times"),
    "begun twice": ([sent(1), start(1), *handled(1)], "1) was handed over 2 times"),
    "an unknown outcome, twice": ([sent(1, "unknown"), *handled(1, 1)], "1) was handed over 2 times"),
    "one overtook another": ([sent(1), sent(2), *handled(2, 1)], "2) came before ('jobs', 's', 1)"),
    "one overtook another long before": (
        [sent(1), sent(2), sent(3), sent(4, began=1.1), *handled(3, 4, 1, 2)],
        "3) came before ('jobs', 's', 1)",
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_nothing_is_broken(case: str) -> None:
    assert judge(FINE[case]).once_in_order() == []


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_found(case: str) -> None:
    lines, complaint = BROKEN[case]
    assert any(complaint in found for found in judge(lines).broken())


@pytest.mark.parametrize("case", TWICE_OR_OUT_OF_ORDER)
def test_what_comes_twice_or_out_of_order_is_found_where_it_must_not(case: str) -> None:
    lines, complaint = TWICE_OR_OUT_OF_ORDER[case]
    verdict = judge(lines)
    assert verdict.broken() == []
    assert any(complaint in found for found in verdict.once_in_order())


@pytest.mark.parametrize(("counted", "lost"), [(0, 2), (1, 2), (2, 0), (3, 0)])
def test_what_was_counted_may_be_missing_and_one_more_makes_all_of_it_suspect(counted: int, lost: int) -> None:
    verdict = judge([sent(1), sent(2), sent(3), *handled(3)], counted=counted)
    assert len(verdict.missing) == 2
    assert len(verdict.broken()) == lost


def test_what_went_with_the_data_of_the_server_may_be_missing() -> None:
    lines = [sent(1), sent(2), sent(3), *handled(3)]
    assert judge(lines, destroyed=lambda line: line.began < 3).broken() == []
    assert len(judge(lines, destroyed=lambda line: line.began < 2).broken()) == 1


def test_each_member_of_a_group_is_owed_each_message() -> None:
    lines = [sent(1, channel="room"), *handled(1, channel="a")]
    assert judge(lines, groups={"room": ["a"]}).broken() == []
    assert judge(lines, groups={"room": ["a", "b"]}).missing == [("b", "s", 1)]


def test_a_duplicate_and_a_second_beginning_are_told_apart() -> None:
    verdict = judge([sent(1), sent(2), start(1), *handled(1), *handled(2, 2)])
    assert verdict.doubled == {("jobs", "s", 2): 2}
    assert verdict.begun_again == {("jobs", "s", 1): 2, ("jobs", "s", 2): 2}


def test_the_verdict_is_printed_with_duplicates_and_inversions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(tmp_path, "w")
    log.write("start", "jobs", {"from": "s", "number": 1})
    log.close()
    Ledger(tmp_path).judge()
    assert "duplicates: none" in capsys.readouterr().out
    assert "('jobs', 's', 7): 2" in str(Verdict(doubled={("jobs", "s", 7): 2}))


def test_a_ledger_goes_on_where_it_was_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    ledger, first, second = Ledger(tmp_path), Log(tmp_path, "first"), Log(tmp_path, "second")
    second.write("acknowledged", "jobs", {"from": "s", "number": 1}, began=1.0)
    assert ledger.judge().missing == [("jobs", "s", 1)]
    (tmp_path / "torn.log").write_bytes(b'{"event": "st')
    first.write("start", "jobs", {"from": "s", "number": 1})
    second.write("end", "jobs", {"from": "s", "number": 1})
    first.write("start", "more", {"from": "s", "number": 2})
    assert [line.event for line in ledger.lines()] == ["acknowledged", "start", "end", "start"]
    assert ledger.judge().missing == []
    assert ledger.keys("start", channel="more") == {("more", "s", 2)}
    assert ledger.count("start") == 2
    assert ledger.count("start", channel="more") == 1
    first.close()
    second.close()
