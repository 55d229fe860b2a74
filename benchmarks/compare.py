"""From results to what is said about them: medians, and ratios of runs that stood side by side. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.rows import LIMIT, OLD, OURS_NAME, PEERS, Goal, Row, Subject
from benchmarks.runner import Results
from benchmarks.statistics import median

__all__ = ["Line", "Measured", "Verdict", "lines", "shown"]


@dataclass(frozen=True)
class Measured:
    """One subject over all rounds."""

    subject: Subject
    values: tuple[float, ...]
    cpu_us: float | None

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)


@dataclass(frozen=True)
class Verdict:
    """How ours stands to its goal."""

    goal: Goal
    ratio: float

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.goal.met(self.ratio)


@dataclass(frozen=True)
class Line:
    """One row on one loop for one layer: what was measured, and ours as ratios, where it took part.

    `times_old` and `cpu_of_old` are ours over 1.1.0, `of_limit` is ours over the limit: medians of the rounds' ratios.
    """

    row: Row
    loop: str
    layer: str | None
    measured: dict[str, Measured]
    times_old: float | None
    cpu_of_old: float | None
    of_limit: float | None
    old_of_limit: float | None
    verdict: Verdict | None

    @property
    def better_than_old(self) -> float | None:
        """How many times better ours is, whichever way is better."""
        if self.times_old is None or self.row.higher_is_better:
            return self.times_old
        return 1 / self.times_old


def lines(rows: list[Row], results: Results) -> Iterator[Line]:
    """All lines that have a value."""
    for row in rows:
        for loop in row.loops:
            for layer in row.layers:
                line = _line(row, loop, layer, results)
                if line.measured:
                    yield line


def _line(row: Row, loop: str, layer: str | None, results: Results) -> Line:
    members = {s.library: s for s in row.subjects if s.layer in (layer, None)}
    rounds = {name: results.of(row, loop, subject) for name, subject in members.items()}
    harness = _harness(row, rounds)
    values = {name: [run[row.measure] - harness for run in runs] for name, runs in rounds.items() if runs}
    cpu = {name: _cpu(runs) for name, runs in rounds.items() if runs}
    measured = {
        name: Measured(members[name], tuple(values[name]), median(cpu[name]) if cpu[name] else None) for name in values
    }
    return Line(
        row,
        loop,
        layer,
        measured,
        times_old=_ratio(values, OURS_NAME, OLD),
        cpu_of_old=_ratio(cpu, OURS_NAME, OLD),
        of_limit=None if row.net_of_limit else _ratio(values, OURS_NAME, LIMIT),
        old_of_limit=None if row.net_of_limit else _ratio(values, OLD, LIMIT),
        verdict=_verdict(row.goals.get(layer), values),
    )


def _harness(row: Row, rounds: dict[str, list[dict[str, Any]]]) -> float:
    runs = rounds.get(LIMIT)
    return median([run[row.measure] for run in runs]) if row.net_of_limit and runs else 0.0


def _cpu(runs: list[dict[str, Any]]) -> list[float]:
    return [run["cpu_per_message_us"] for run in runs if "cpu_per_message_us" in run]


def _ratio(values: dict[str, list[float]], one: str, other: str) -> float | None:
    """The median of the rounds' ratios, because what ran side by side met the same noise."""
    ratios = [a / b for a, b in zip(values.get(one, []), values.get(other, []), strict=False) if b]
    return median(ratios) if ratios else None


def _verdict(goal: Goal | None, values: dict[str, list[float]]) -> Verdict | None:
    if goal is None or OURS_NAME not in values:
        return None
    if goal.against is None:
        return Verdict(goal, median(values[OURS_NAME]))
    others = PEERS if goal.against == "best peer" else (goal.against,)
    ratios = [ratio for other in others if (ratio := _ratio(values, OURS_NAME, other)) is not None]
    if not ratios:
        return None
    return Verdict(goal, min(ratios) if goal.sign == ">=" else max(ratios))


def shown(value: float | None) -> str:
    """A number as people read it: three significant digits at most, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
