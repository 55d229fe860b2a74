"""Runs are interleaved, made in processes of their own, and failed ones are no values."""

from dataclasses import replace
from typing import Any

from benchmarks.rows import OLD, OURS_NAME, chosen_rows
from benchmarks.runner import Results, Run, plan, run_all


def ours(pattern: str) -> list[Any]:
    """The rows that match, with our layers alone."""
    rows = chosen_rows([pattern], ["asyncio"], quick=True)
    return [replace(row, subjects=tuple(s for s in row.subjects if s.library == OURS_NAME)) for row in rows]


def test_every_round_goes_through_all_subjects_and_turns_their_order() -> None:
    rows = chosen_rows(["memory.*"], ["asyncio"], quick=True)
    runs = list(plan(rows, 2))
    first, second = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    assert [run.round for run in runs] == [0] * len(first) + [1] * len(second)
    assert [run.subject.library for run in first[:3]] == [OLD, OURS_NAME, "limit"]
    assert [run.subject.library for run in second[:3]] == ["limit", OURS_NAME, OLD]


def test_a_run_happens_in_a_process_of_its_own_on_a_server_of_its_own() -> None:
    [row] = ours("pubsub.latency")
    row = replace(row, parameters={"pause": 0, "seconds": 0.1})
    done: list[dict[str, Any]] = []
    results = run_all(list(plan([row], 1)), lambda run, result: done.append(result))
    assert results.failures == []
    assert done[0]["p50_us"] > 0


def test_a_program_that_fails_is_a_failure_with_its_last_line() -> None:
    [row] = ours("memory.one_channel")
    row = replace(row, parameters={})
    results = run_all(list(plan([row], 1)), lambda run, result: None)
    assert results.values == {}
    assert "KeyError: 'window'" in results.failures[0]


def test_a_run_that_lost_something_is_no_value() -> None:
    [row] = ours("memory.one_channel")
    run, results = Run(0, row, "asyncio", row.subjects[0]), Results()
    results.add(run, {"rate": 1.0, "count": 5, "lost": 2, "duplicated": 0})
    assert results.of(row, "asyncio", row.subjects[0]) == []
    assert results.failures == ["round 1, memory.one_channel, asyncio, ours in-memory: 2 lost, 0 duplicated of 5"]
