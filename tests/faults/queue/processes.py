"""Starting, asking and killing the programs of this suite."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE

__all__ = ["Program", "program"]

ROOT = Path(__file__).parents[3]


class Program:
    """A program that runs, in a process group of its own."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.faults.queue.{module}", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )

    async def line(self) -> Any:
        """The next thing that it tells."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, "the program ended"
        return json.loads(line)

    async def ask(self) -> Any:
        """Give it a line, and return what it tells then."""
        self.go()
        return await self.line()

    def go(self) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End all its processes at once, stopped or not. Idempotent."""
        self.signal(signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self.process.wait()


@contextmanager
def program(module: str, **options: Any) -> Iterator[Program]:
    """A program of this suite with its `Options`, until the end of the block."""
    running = Program(module, options)
    try:
        yield running
    finally:
        running.close()
