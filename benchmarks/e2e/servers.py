"""uvicorn processes with one of the applications."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fast_channels.testing.server import free_port

__all__ = ["WebServer", "web_servers"]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


class WebServer:
    """One uvicorn process, with its defaults but the log.

    Args:
        python: the interpreter of the environment that it runs in.
        application: a module of `benchmarks.e2e.apps`.
        environ: what the application reads from its environment.
    """

    def __init__(self, python: str, application: str, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.address = f"ws://127.0.0.1:{self.port}"
        target = f"benchmarks.e2e.apps.{application}:app"
        self._process = subprocess.Popen(
            [python, "-m", "uvicorn", target, "--port", str(self.port), "--log-level", "error", "--no-access-log"],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return when it accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self._process.args!r} did not start")

    def kill(self) -> None:
        """End it at once: how well an application shuts down is not measured here."""
        self._process.kill()
        self._process.wait()


@contextmanager
def web_servers(count: int, python: str, application: str, environ: dict[str, str]) -> Iterator[list[WebServer]]:
    """`count` servers, ready, and gone at the end."""
    servers = [WebServer(python, application, environ) for _ in range(count)]
    try:
        for server in servers:
            server.wait_until_ready()
        yield servers
    finally:
        for server in servers:
            server.kill()
