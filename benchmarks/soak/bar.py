"""How far the soak is: a bar on a terminal, a line for every tenth of it elsewhere."""

from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console

__all__ = ["Bar"]


class Bar:
    """Shows the time that has passed, and a line about what there is to see."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._seconds = seconds
        self._tenths = 0
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=seconds)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def at(self, seconds: float, text: str) -> None:
        """So many have passed."""
        self._bar.update(self._task, completed=seconds, description=text)
        tenths = int(10 * seconds / self._seconds)
        if tenths > self._tenths and not self._console.is_terminal:
            self._console.print(f"{seconds:.0f}/{self._seconds:.0f} s: {text}", markup=False, soft_wrap=True)
        self._tenths = tenths
