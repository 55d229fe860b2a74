"""The results as a picture: bars in plain SVG, readable on a light and on a dark page."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from benchmarks.compare import Line, shown
from benchmarks.rows import FLOOR, LIMIT, OLD, OURS_NAME, PEERS

__all__ = ["Bar", "Chart", "charts", "svg"]

LABELS = {LIMIT: "a bare loop over the sockets", FLOOR: "a task that is woken for each socket, no layer"}

WIDTH = 880
LABEL_WIDTH = 420
BAR_HEIGHT = 16
ROW_HEIGHT = 24
HEAD_HEIGHT = 52

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.note { fill: #59636e }
.ours { fill: #1a7f5a } .other { fill: #a8b1bb } .goal { stroke: #bc4c00; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .ours { fill: #3fb68b } .other { fill: #59636e } .goal { stroke: #f0883e }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar; `goal` is where a mark stands."""

    label: str
    value: float
    ours: bool
    goal: float | None = None


@dataclass(frozen=True)
class Chart:
    """Bars under one title."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    logarithmic: bool = False

    @property
    def height(self) -> int:
        """In pixels."""
        return HEAD_HEIGHT + ROW_HEIGHT * len(self.bars) + 16

    def x(self, value: float) -> float:
        """How far a value reaches, in pixels."""
        top = max(max(bar.value, bar.goal or 0) for bar in self.bars)
        share = math.log(max(value, 1)) / math.log(top) if self.logarithmic else value / top
        return (WIDTH - LABEL_WIDTH - 70) * share


def charts(lines: list[Line]) -> list[Chart]:
    """How many times 1.1.0, and the cost of a delivery end to end; only what was measured."""
    found = [_times_old(lines), *(_end_to_end(lines, key) for key in ("e2e.room", "e2e.bursts", "e2e.pairs"))]
    return [chart for chart in found if chart.bars]


def _times_old(lines: list[Line]) -> Chart:
    compared = [line for line in lines if _is_a_cost(line) and line.loop == line.row.loops[0]]
    bars = tuple(
        Bar(line.row.title, line.better_than_old, ours=True, goal=_goal_times_old(line))
        for line in compared
        if line.better_than_old is not None
    )
    return Chart("Times better than 1.1.0", "A logarithmic scale; the mark is the goal.", bars, logarithmic=True)


def _is_a_cost(line: Line) -> bool:
    """End to end has charts of its own, and how something grows says nothing of how much it is."""
    return not line.row.servers and line.row.measure != "growth"


def _goal_times_old(line: Line) -> float | None:
    if line.verdict is None or line.verdict.goal.against != OLD:
        return None
    factor = line.verdict.goal.factor
    return factor if line.row.higher_is_better else 1 / factor


def _end_to_end(lines: list[Line], key: str) -> Chart:
    chosen = [line for line in lines if line.row.key == key]
    bars: dict[str, Bar] = {}
    for line in chosen:
        for library in (LIMIT, FLOOR, OURS_NAME, *PEERS, OLD):
            if library in line.measured:
                measured = line.measured[library]
                label = LABELS.get(library, measured.subject.name)
                bars[label] = Bar(label, measured.median, ours=library == OURS_NAME)
    row = chosen[0].row if chosen else None
    ordered = sorted(bars.values(), key=lambda bar: bar.value, reverse=bool(row and row.higher_is_better))
    note = f"{row.unit}; {'more' if row.higher_is_better else 'less'} is better" if row else ""
    return Chart(row.title if row else "", note, tuple(ordered))


def svg(drawn: Iterable[Chart]) -> str:
    """The charts, one below the other."""
    parts, top = [], 0
    for chart in drawn:
        parts.append(f'<g transform="translate(0 {top})">{_chart(chart)}</g>')
        top += chart.height
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def _chart(chart: Chart) -> str:
    head = f'<text class="title" x="8" y="24">{escape(chart.title)}</text>'
    note = f'<text class="note" x="8" y="42">{escape(chart.note)}</text>'
    bars = (_bar(chart, bar, HEAD_HEIGHT + ROW_HEIGHT * number) for number, bar in enumerate(chart.bars))
    return "\n".join([head, note, *bars])


def _bar(chart: Chart, bar: Bar, y: int) -> str:
    length, goal, middle = chart.x(bar.value), chart.x(bar.goal) if bar.goal else 0, y + BAR_HEIGHT - 4
    kind, size = "ours" if bar.ours else "other", f'width="{max(length, 1):.1f}" height="{BAR_HEIGHT}"'
    parts = [
        f'<text x="{LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{y}" {size} rx="2"/>',
        f'<text x="{LABEL_WIDTH + max(length, goal) + 6:.1f}" y="{middle}">{shown(bar.value)}</text>',
    ]
    if goal:
        x = LABEL_WIDTH + goal
        parts.append(f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + BAR_HEIGHT + 3}"/>')
    return "".join(parts)
