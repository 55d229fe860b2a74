"""A demo that runs as a user starts it, in a session of its own, so that everything it starts can be found."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0
"""Seconds to wait for anything: many, because the machine may be busy."""

PROC = Path("/proc/self/stat")

needs_proc = pytest.mark.skipif(not PROC.exists(), reason="finds the processes of a session in /proc")


class RunningDemo:
    """`python -m sandbox` within a `with` block; what it leaves behind is killed at the end."""

    def __init__(self, *options: str, redis_url: str | None = None) -> None:
        self.output = TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", *options],
            cwd=ROOT,
            env=environment if redis_url is None else {**environment, "REDIS_URL": redis_url},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        for pid in self.members():
            os.kill(pid, signal.SIGKILL)
        self.output.close()

    @property
    def text(self) -> str:
        """What it printed until now."""
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode()

    @property
    def addresses(self) -> list[str]:
        """Where its pages are."""
        return re.findall(r"Server \d +(\S+)", self.text)

    def wait_until_up(self) -> Self:
        until(lambda: "Ctrl-C stops everything" in self.text or self.process.poll() is not None, self)
        assert self.process.poll() is None, self.text
        return self

    def members(self, command: str = "") -> list[int]:
        """The living processes of its session, itself among them, whose command line has `command` in it."""
        stats = {int(path.parent.name): read(path) for path in Path("/proc").glob("[0-9]*/stat")}
        return [
            pid
            for pid, stat in stats.items()
            if in_session(stat, self.process.pid) and command in read(Path(f"/proc/{pid}/cmdline"))
        ]

    def wait_until_gone(self) -> None:
        until(lambda: not self.members(), self)


def in_session(stat: str, session: int) -> bool:
    """Whether a line of /proc/PID/stat is of a process of `session` that has not ended."""
    state, _, _, own, *_ = stat.rpartition(")")[2].split() or ("Z", "", "", "")
    return own == str(session) and state not in "ZX"


def read(path: Path) -> str:
    """What is in a file of /proc; nothing if the process is gone."""
    try:
        return path.read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def until(condition: Callable[[], bool], demo: RunningDemo, seconds: float = PATIENCE) -> None:
    """Wait for `condition`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{demo.members()} still run; printed: {demo.text}"
        time.sleep(0.02)
