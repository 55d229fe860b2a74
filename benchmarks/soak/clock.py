"""How far the soak is: a bar on a terminal, a line for every tenth of it elsewhere."""

from rich.console import Console

from benchmarks.bar import Bar

__all__ = ["Clock"]


class Clock(Bar):
    """Shows the time that has passed, and a line about what there is to see."""

    def __init__(self, console: Console, seconds: float) -> None:
        super().__init__(console, seconds)
        self._tenths = 0

    def at(self, seconds: float, text: str) -> None:
        """So many have passed."""
        self.show(seconds, text)
        tenths = int(10 * seconds / self.total)
        if tenths > self._tenths and not self.console.is_terminal:
            self.console.print(f"{seconds:.0f}/{self.total:.0f} s: {text}", markup=False, soft_wrap=True)
        self._tenths = tenths
