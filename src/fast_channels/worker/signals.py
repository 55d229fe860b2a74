"""The signals that ask a process to end."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["on_signals"]

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(callback: Callable[[str], None]) -> Iterator[None]:
    """Within the block, the first two of SIGTERM and SIGINT call `callback` in this event loop, with their names.

    The third one does what it does by itself: it ends the process. Afterwards everything is as it was.

    Raises:
        ValueError: this is not the main thread.
    """
    loop = asyncio.get_running_loop()
    seen = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            for each in NUMBERS:
                signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(callback, signal.Signals(number).name)

    # signal.signal and not the loop's own: the third one counts even if a handler blocks the loop
    before = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
