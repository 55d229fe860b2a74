"""A bar for long work: on a terminal it moves, elsewhere there is none."""

from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console

__all__ = ["Bar"]


class Bar:
    """Shows how much is done, for how long it will go on, and a line about what there is to see."""

    def __init__(self, console: Console, total: float, *before: progress.ProgressColumn) -> None:
        self.console = console
        self.total = total
        self._bar = progress.Progress(
            *before,
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

    def show(self, done: float, text: str) -> None:
        """So much is done."""
        self._bar.update(self._task, completed=done, description=text)
