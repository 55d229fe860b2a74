"""How far the measuring is: a bar on a terminal, a line for each run elsewhere."""

from typing import Any

from rich.console import Console
from rich.progress import TextColumn

from benchmarks.bar import Bar
from benchmarks.compare import shown
from benchmarks.runner import Run, failure

__all__ = ["Progress"]


class Progress(Bar):
    """Shows each run when it is done."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, total, TextColumn("{task.completed}/{task.total}"))
        self._count = 0

    def done(self, run: Run, result: dict[str, Any]) -> None:
        """`run` has ended with `result`."""
        self._count += 1
        fault = failure(result)
        text = f"{run}: {fault or f'{shown(result[run.row.measure])} {run.row.unit}'}"
        self.show(self._count, text)
        if not self.console.is_terminal:
            self.console.print(f"{self._count}/{self.total} {text}", markup=False, highlight=False, soft_wrap=True)
