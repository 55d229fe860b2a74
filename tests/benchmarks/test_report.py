"""Ratios are of runs that stood side by side, and every form of the report says the same."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.compare import Line, lines, shown
from benchmarks.plot import charts, svg
from benchmarks.report import between_markers, markdown, to_json
from benchmarks.rows import Goal, Row, chosen_rows
from benchmarks.runner import Results, plan

ABOUT: dict[str, Any] = {
    "date": "2030-01-01",
    "rounds": 3,
    "machine": {"cpu": "A CPU", "cores": "2", "system": "Linux", "python": "CPython", "server": "Valkey"},
    "versions": {"ours": {"fast-channels": "2"}},
}


def results_of(rows: list[Row], values: dict[str, list[float]]) -> Results:
    """Results in which each library has these values, one for each round."""
    results = Results()
    for run in plan(rows, 3):
        value = values[run.subject.library][run.round]
        result = {run.row.measure: value, "cpu_per_message_us": value, "count": 1, "lost": 0, "duplicated": 0}
        results.add(run, result)
    return results


def rows_of(pattern: str) -> list[Row]:
    return chosen_rows([pattern], ["asyncio"], quick=False)


def line_of(pattern: str, values: dict[str, list[float]]) -> Line:
    rows = rows_of(pattern)
    [line] = lines(rows, results_of(rows, values))
    return line


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    values = {"1.1.0": [10.0, 100.0, 1000.0], "ours": [40.0, 300.0, 2000.0], "limit": [80.0, 600.0, 4000.0]}
    line = line_of("memory.one_channel", values)
    assert (line.times_old, line.of_limit) == (3, 0.5)
    assert line.verdict is not None
    assert line.verdict.met


def test_the_harness_is_taken_off_the_memory() -> None:
    values = {"1.1.0": [1100.0] * 3, "ours": [600.0] * 3, "limit": [100.0] * 3}
    line = line_of("pubsub.memory", values)
    assert line.times_old == 0.5
    assert line.better_than_old == 2
    assert line.of_limit is None


def test_the_best_peer_is_the_one_that_is_harder_to_beat() -> None:
    rows = rows_of("e2e.pairs")
    values = {"1.1.0": [1.0] * 3, "ours": [9.0] * 3, "Litestar": [3.0] * 3, "broadcaster": [6.0] * 3}
    line = next(line for line in lines(rows, results_of(rows, values)) if line.layer == "pubsub")
    assert line.verdict is not None
    assert line.verdict.ratio == 1.5
    assert not line.verdict.met


def test_a_goal_against_nobody_is_for_the_value_itself() -> None:
    line = line_of("pubsub.scaling", {"1.1.0": [3.0] * 3, "ours": [1.0, 1.01, 1.2]})
    assert line.verdict is not None
    assert (line.verdict.ratio, line.verdict.met, str(line.verdict.goal)) == (1.01, True, "<= 1.05")


@pytest.mark.parametrize(
    ("goal", "ratio", "met"), [(Goal(">=", 3, "x"), 3.0, True), (Goal("<=", 1.2, "x"), 1.3, False)]
)
def test_a_goal_is_met_or_not(goal: Goal, ratio: float, met: bool) -> None:
    assert goal.met(ratio) is met


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.12345, "0.123"), (68_402.2, "68,400"), (1_270_000, "1,270,000")]
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_every_form_holds_every_line() -> None:
    rows = rows_of("*")
    values = {name: [3.0, 4.0, 5.0] for name in ("1.1.0", "ours", "limit", "floor", "Litestar", "broadcaster")}
    results = results_of(rows, values)
    compared = list(lines(rows, results))
    text = markdown(compared, results, ABOUT)
    assert text.count("\n| ") == 2 + len(compared)  # with the headings
    assert len(json.loads(to_json(compared, results, ABOUT))["lines"]) == len(compared)
    picture = ET.fromstring(svg(charts(compared)))
    titles = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "Times better than 1.1.0" in titles
    assert "ours pub/sub" in titles


def test_the_readme_keeps_what_stands_around_the_results() -> None:
    text = "before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter\n"
    assert between_markers(between_markers(text, "new"), "newer") == (
        "before\n<!-- results: begin -->\n\nnewer\n\n<!-- results: end -->\nafter\n"
    )
