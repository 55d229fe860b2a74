"""Applications under the real `uvicorn`, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

from fast_channels.testing.server import free_port
from tests.support.waiting import PATIENCE, until

__all__ = ["ROOT", "RunningUvicorn"]

ROOT = Path(__file__).parent.parent.parent


class RunningUvicorn:
    """`uvicorn APPLICATION …` within an `async with` block, in which it answers; killed at its end if it runs then.

    Args:
        application: `module:attribute`.
        options: of the command line.
        env: on top of this process's environment.
        folder: where the module is.
        workers: how many processes serve it.
        environment: on top of this process's.
    """

    def __init__(
        self, application: str, *options: str, env: Mapping[str, str], folder: Path = ROOT, workers: int = 1
    ) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "uvicorn", application, "--port", str(self.port), *options]
        kept = {
            name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "COVERAGE_PROCESS_START")
        }
        if workers > 1:
            command += ["--workers", str(workers)]
        self._workers = workers
        self._output = TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._command, self._folder, self._environment = command, folder, {**kept, **env}
        self.process: subprocess.Popen[bytes]

    async def __aenter__(self) -> Self:
        self.process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment, in a test
            self._command,
            cwd=self._folder,
            env={"PYTHONPATH": str(ROOT), **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        try:
            await until(self._has_begun, "the server did not begin")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.text)
        self._end()

    def _has_begun(self) -> bool:
        assert self.process.poll() is None, self.text
        return "Uvicorn running on" in self.text and self.text.count("startup complete") == self._workers

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._output.close()

    @property
    def http(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Its address for WebSockets."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        """What it printed until now."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode()

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> float:
        """Wait until it has ended; the moment (`time.monotonic()`) when it was seen."""
        await until(lambda: self.process.poll() is not None, "the server did not end")
        return time.monotonic()
