"""The README's quick setup, run as it is printed: two servers, an endpoint and a worker over a real Valkey."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from fast_channels.testing.server import ServerProcess, free_port

README = Path(__file__).parents[2] / "README.md"


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
