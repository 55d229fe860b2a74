"""Workers as processes of their own, started as an operator does."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import PATIENCE, until

__all__ = ["JOBS", "RunningWorker"]

JOBS = """
import asyncio
from pathlib import Path

from fast_channels.consumer import AsyncConsumer
from fast_channels.routing import ChannelNameRouter


class Job(AsyncConsumer):
    async def job_do(self, message):
        print("did", message["number"], flush=True)

    async def job_wait(self, message):
        print("begun", message["number"], flush=True)
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        print("ended", message["number"], flush=True)

    async def job_fail(self, message):
        raise ValueError(f"no such picture: {message['number']}")

    async def job_refuse_to_end(self, message):
        print("begun", message["number"], flush=True)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("refused", flush=True)


router = ChannelNameRouter({"jobs": Job, "mails": Job})
"""
"""A module of the user's: `job.wait` ends when there is a file `go`."""


class RunningWorker:
    """`fast-channels worker …` in a folder, within a block; killed at its end if it runs then."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self._output = (folder / "output.txt").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "fast_channels", "worker", *arguments],
            cwd=folder,
            env={**{name: value for name, value in os.environ.items() if name != "REDIS_URL"}, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def text(self) -> str:
        """What it printed and logged until now."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode()

    async def says(self, text: str) -> Self:
        await until(lambda: text in self.text or self.process.poll() is not None)
        assert text in self.text, self.text
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """Its exit code, once it has ended."""
        await until(lambda: self.process.poll() is not None, f"it did not end in {PATIENCE:g} s")
        code: int = self.process.returncode
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()
