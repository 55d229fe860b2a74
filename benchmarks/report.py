"""What was measured, for people: a table on the terminal, Markdown for the README, JSON for programs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.compare import Line, shown
from benchmarks.rows import FLOOR, LAYERS, LIMIT, OLD, OURS_NAME, PEERS
from benchmarks.runner import Results

__all__ = ["between_markers", "markdown", "print_table", "to_json", "write"]

COLUMNS = (OLD, OURS_NAME, LIMIT, FLOOR, *PEERS)
RATIOS = ("ours / 1.1.0", "its CPU", "ours / limit")
BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"


def _values(line: Line) -> list[str]:
    hidden = (LIMIT,) if line.row.net_of_limit else ()
    return [
        shown(line.measured[name].median) if name in line.measured and name not in hidden else "" for name in COLUMNS
    ]


def _ratios(line: Line) -> list[str]:
    return [f"{shown(ratio)} x" if ratio else "" for ratio in (line.times_old, line.cpu_of_old, line.of_limit)]


def _goal(line: Line) -> str:
    goal, verdict = line.row.goals.get(line.layer), line.verdict
    if goal is None or verdict is None:
        return f"{goal or ''}"
    return f"{goal}: {'met' if verdict.met else 'not met'}, {shown(verdict.ratio)} x"


def _title(line: Line) -> str:
    layer = LAYERS.get(line.layer or "", "")
    title = line.row.title if len(line.row.layers) == 1 else f"{layer}, {line.row.title}"
    return f"{title}, {line.row.unit}"


def print_table(console: Console, lines: list[Line], results: Results) -> None:
    """Print the lines, then what went wrong."""

    def show(cells: Iterable[str], end: str, style: str | None = None) -> None:
        text = "".join(f"{cell:>13}" for cell in cells)
        console.print(f"{text}  {end}".rstrip(), style=style, markup=False, highlight=False, soft_wrap=True)

    title = None
    show(["loop", *COLUMNS, *RATIOS], "goal", "bold")
    for line in lines:
        if title != (title := _title(line)):
            console.print(f"\n{title}", style="bold", markup=False, highlight=False, soft_wrap=True)
        style = None if line.verdict is None else "green" if line.verdict.met else "yellow"
        show([line.loop, *_values(line), *_ratios(line)], _goal(line), style)
    for failure in results.failures:
        console.print(f"FAILED  {failure}", style="bold red", markup=False, soft_wrap=True)


def markdown(lines: list[Line], results: Results, about: dict[str, Any]) -> str:
    """The same as a Markdown section, with what it was measured on."""
    headings = ["work", "loop", *COLUMNS, *RATIOS, "goal"]
    rows = [[_title(line), line.loop, *_values(line), *_ratios(line), _goal(line)] for line in lines]
    alignment = ["---", "---", *["---:"] * len([*COLUMNS, *RATIOS]), "---"]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [headings, alignment, *rows])
    machine = about["machine"]
    versions = "\n".join(f"- {name}: {_versions(found)}" for name, found in about["versions"].items())
    failures = "".join(f"\n- failed: {failure}" for failure in results.failures)
    return (
        f"Measured on {about['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
        f"{machine['python']}, {machine['server']}; medians of {about['rounds']} interleaved rounds. "
        f"Compare only within a line.\n\n{table}\n\n{versions}{failures}"
    )


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def between_markers(text: str, section: str) -> str:
    """`text` with `section` in the place of what stood between the markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{section}\n\n{END}{tail}"


def to_json(lines: list[Line], results: Results, about: dict[str, Any]) -> str:
    """Everything: the machine, each run's own line, the ratios."""
    runs = [
        {"row": row, "loop": loop, "subject": subject, "rounds": rounds}
        for (row, loop, subject), rounds in results.values.items()
    ]
    summary = [_summary(line) for line in lines]
    return json.dumps({**about, "lines": summary, "runs": runs, "failures": results.failures}, indent=1) + "\n"


def _summary(line: Line) -> dict[str, Any]:
    ratios = ("times_old", "cpu_of_old", "of_limit", "old_of_limit")
    return {
        "row": line.row.key,
        "title": line.row.title,
        "unit": line.row.unit,
        "loop": line.loop,
        "layer": line.layer,
        "medians": {name: measured.median for name, measured in line.measured.items()},
        **{name: getattr(line, name) for name in ratios},
        "goal": None if line.verdict is None else {**asdict(line.verdict.goal), "met": line.verdict.met},
    }


def write(path: Path, text: str) -> None:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
