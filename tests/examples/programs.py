"""The examples as somebody starts them: real programs, in the root of the repository."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import PATIENCE

__all__ = ["ROOT", "Program", "address_of", "hear", "uvicorn", "websocket"]

ROOT = Path(__file__).parents[2]


class Program:
    """A program within a `with` block, in a session of its own; it and what it started are killed at the end.

    Args:
        command: its arguments; without a path, the first is looked for beside the interpreter.
        python: the interpreter of its environment.
        environment: variables, over those of this process.
    """

    def __init__(self, *command: str, python: str = sys.executable, **environment: str) -> None:
        program = Path(python).parent / command[0]
        self._output = TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._is_over = False
        self.process = subprocess.Popen(
            [str(program), *command[1:]],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """What it printed until now."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def says(self, pattern: str, seconds: float = PATIENCE) -> "re.Match[str]":
        """Wait until it has printed what `pattern` matches."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.text}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text}"
            time.sleep(0.02)
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of its session, also what outlived it
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if error is not None:
            print(f"{self.process.args!r}:\n{self.text}")
        self._output.close()


def uvicorn(application: str, *options: str, **more: Any) -> Program:
    """An ASGI application on a free port, which `address_of` tells."""
    return Program("uvicorn", application, "--port", "0", *options, **more)


def address_of(server: Program) -> str:
    """Host and port of a server of uvicorn or gunicorn, once it listens there."""
    return server.says(r"(?:running on|Listening at:) http://([\w.:]+)")[1]


def websocket(server: Program, path: str) -> ClientConnection:
    """A client that is connected, as a context manager."""
    return connect(f"ws://{address_of(server)}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE)


def hear(socket: ClientConnection, count: int) -> list[Any]:
    """The next messages, which are JSON."""
    return [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(count)]
