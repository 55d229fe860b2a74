"""The README's quick setup, run as it is printed: two servers, an endpoint and a worker over a real Valkey."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from fast_channels.testing.server import ServerProcess, free_port
from tests.support.servers import KINDS, server_binary
from tests.support.tls import Authority

README = Path(__file__).parents[2] / "README.md"
TESTS = Path(__file__).parents[1]


def files_of_readme() -> dict[str, str]:
    """The code blocks that begin with the name of a file."""
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def wait_for_server(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the server answers; fail if it ends instead."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}")
        try:
            httpx.get(f"http://127.0.0.1:{port}/docs", timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server does not answer")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "__init__.py").touch()
    for name, code in files_of_readme().items():
        (tmp_path / name).write_text(code)
    return tmp_path


@pytest.fixture
def servers(project: Path, redis_server: ServerProcess) -> Iterator[tuple[int, int]]:
    ports = free_port(), free_port()
    environment = {**os.environ, "REDIS_URL": redis_server.url}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "chat.main:app", "--port", str(port)], cwd=project, env=environment
        )
        for port in ports
    ]
    try:
        for process, port in zip(processes, ports, strict=True):
            wait_for_server(process, port)
        yield ports
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


async def hear(client: ClientConnection, text: str) -> None:
    """Read until `text` arrives."""
    async with asyncio.timeout(10):
        while await client.recv() != text:
            pass


def test_the_readme_has_all_four_files() -> None:
    assert list(files_of_readme()) == ["chat/layers.py", "chat/consumer.py", "chat/main.py", "chat/worker.py"]


async def test_the_quick_setup_works_as_printed(
    project: Path, servers: tuple[int, int], redis_server: ServerProcess
) -> None:
    first, second = servers
    async with connect(f"ws://127.0.0.1:{first}/ws/chat") as one, connect(f"ws://127.0.0.1:{second}/ws/chat") as two:
        channel_name = await one.recv()
        await hear(one, "User joined")

        await two.send("typed at the second server")
        await hear(one, "typed at the second server")

        async with httpx.AsyncClient() as http:
            await http.post(f"http://127.0.0.1:{first}/announce", params={"text": "posted to the first"})
        await hear(two, "posted to the first")

        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chat.worker",
            str(channel_name),
            cwd=project,
            env={**os.environ, "REDIS_URL": redis_server.url},
        )
        await hear(one, "Job 42: done")
        assert await worker.wait() == 0


# The table of the servers


@dataclass(frozen=True)
class Row:
    """A server that the README says is tested."""

    version: str
    kind: str
    setups: tuple[str, ...]
    has_tls: bool
    held: str


def rows() -> list[Row]:
    """The table below "These are the servers that the tests run on"."""
    _, _, text = README.read_text().partition("These are the servers that the tests run on")
    cells = re.findall(r"^\| (\w+) ([\d.]+)[^|]* \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    return [
        Row(
            version,
            f"{name.lower()}{version.partition('.')[0]}",
            tuple(how.partition(";")[0].split(", ")),
            "TLS" in how,
            held,
        )
        for name, version, how, held in cells
    ]


SETUPS = {
    "redis_url": ("valkey9", "one server"),
    "second_redis_url": ("valkey9", "several hosts"),
    "sentinels": ("valkey9", "Sentinel"),
    "cluster": ("valkey9", "Cluster"),
    "redis8_url": ("redis8", "one server"),
    "redis8_cluster": ("redis8", "Cluster"),
    "debians_redis_url": ("redis7", "one server"),
    "debians_redis_cluster": ("redis7", "Cluster"),
}
"""What is behind the fixtures that the classes of the contract ask for."""


def setups_of_the_contract() -> dict[tuple[str, str], set[str]]:
    """The servers, set up in each way, that the contract is held on; and the layers that are."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for node in ast.parse((TESTS / "contract" / "test_layers.py").read_text()).body:
        if isinstance(node, ast.ClassDef) and (layer := re.match("Test(PubSub|Queue)", node.name)):
            for fixture in (part for part in node.body if isinstance(part, ast.FunctionDef)):
                *_, asked = (argument.arg for argument in fixture.args.args)
                if asked != "hosts":
                    found[SETUPS[asked]].add(layer[1])
    return found


def test_the_servers_of_the_readme_are_those_of_the_tests() -> None:
    assert [row.kind for row in rows()] == list(KINDS)


def test_both_layers_are_held_to_the_contract_as_the_readme_says_and_nowhere_else() -> None:
    said = {(row.kind, setup): {"PubSub", "Queue"} for row in rows() for setup in row.setups}
    assert setups_of_the_contract() == said


def test_the_queue_is_held_to_its_faults_on_every_server() -> None:
    assert "faults" in {row.kind: row.held for row in rows()}["redis8"]
    assert "@pytest.fixture(params=KINDS)\ndef kind(" in (TESTS / "faults" / "queue" / "conftest.py").read_text()


def test_a_node_of_a_cluster_dies_on_every_server() -> None:
    assert "a Cluster's node" in {row.kind: row.held for row in rows()}["redis8"]
    of_each = '@pytest.mark.parametrize("six", KINDS, indirect=True)'
    for path in ("faults/test_cluster.py", "faults/queue/test_cluster.py"):
        assert of_each in (TESTS / path).read_text()


def test_certificates_are_tried_on_the_server_that_the_readme_says() -> None:
    assert re.findall(r'server_binary\("(\w+)"\)', inspect.getsource(Authority.server)) == [
        row.kind for row in rows() if row.has_tls
    ]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.kind)
def test_each_server_has_the_version_that_the_readme_says(row: Row) -> None:
    done = subprocess.run([server_binary(row.kind), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=([\d.]+)", done.stdout)
    assert found
    if row.kind == "redis7" and not found[1].startswith("7."):
        pytest.skip("the server on the PATH is another one")
    assert found[1].startswith(f"{row.version}.")
