"""What the programs of this suite share: their options, their end, and a clock of their own.

A program is started by `tests.faults.queue.processes` with its options as one JSON argument. It answers in JSON lines,
and ends when its input does, so that none outlives its test.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.queue.ledger import Log

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

__all__ = ["Options", "answer", "run"]


@dataclass(frozen=True, slots=True)
class Options:
    """What any of the programs may be told."""

    url: str
    folder: str
    """Of the ledger."""
    name: str
    queue: str = "layer"
    """A key of `QUEUES`."""
    layer: dict[str, Any] = field(default_factory=dict)
    """More arguments of the layer."""
    weaknesses: list[str] = field(default_factory=list)
    """Keys of `WEAKNESSES`."""
    skew: float = 0.0
    """Seconds by which the wall clock of this process is ahead of the others."""
    channels: list[str] = field(default_factory=lambda: ["jobs"])
    how: str = ""
    """What a worker does with a message, a key of `HANDLERS`."""
    seconds: float = 0.0
    """How long a handler takes, or how long a sender waits between two messages."""
    copies: int = 1
    """Processes, or tasks of a sender."""
    count: int = 0
    """Messages, or channels of an owner."""
    group: str = ""

    def log(self) -> Log:
        return Log(self.folder, self.name)

    def make_layer(self) -> "BaseChannelLayer":
        """Imports the library, as late as this: it sees only the clock that it is given."""
        from tests.faults.queue.queues import make_queue
        from tests.faults.queue.weakened import weaken

        weaken(self.weaknesses, pytest.MonkeyPatch())
        return make_queue(self.queue, self.url, **self.layer)  # type: ignore[arg-type]


def answer(line: object) -> None:
    """Tell whoever started this program."""
    print(json.dumps(line), flush=True)


def run(main: Callable[[Options], object]) -> None:
    """Run a program: a function of its options."""
    options = Options(**json.loads(sys.argv[1]))
    if options.skew:
        set_wall_clock(options.skew)
    result = main(options)
    if isinstance(result, Coroutine):
        asyncio.run(result)


def end_with_input() -> None:
    """End this process at once when nobody holds the other end of its input any more; in each process of a program."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def set_wall_clock(skew: float) -> None:
    """Let this process believe that it is `skew` seconds later, before the library is imported."""
    if "fast_channels" in sys.modules:
        raise RuntimeError("too late: the library may have the right clock already")
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + skew
    time.time_ns = lambda: right_ns() + int(skew * 1e9)
