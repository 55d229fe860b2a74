"""How far the measuring is: a bar on a terminal, a line for each run elsewhere."""

from types import TracebackType
from typing import Any, Self

from rich import progress
from rich.console import Console

from benchmarks.compare import shown
from benchmarks.runner import Run, failure

__all__ = ["Progress"]


class Progress:
    """Shows each run when it is done."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._count = 0
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed}/{task.total}"),
            progress.BarColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def done(self, run: Run, result: dict[str, Any]) -> None:
        """`run` has ended with `result`."""
        self._count += 1
        fault = failure(result)
        text = f"{run}: {fault or f'{shown(result[run.row.measure])} {run.row.unit}'}"
        self._bar.update(self._task, completed=self._count, description=text)
        if not self._console.is_terminal:
            self._console.print(f"{self._count}/{self._total} {text}", markup=False, highlight=False, soft_wrap=True)
