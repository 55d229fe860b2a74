"""The commands of a page, run as they are printed: only the ports are others."""

import asyncio
import os
import shlex
import subprocess
import sys
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from websockets.asyncio.client import ClientConnection, connect

from fast_channels.testing.server import free_port
from tests.docs.pages import Page

__all__ = ["PATIENCE", "Running", "commands", "hear"]

PATIENCE = 30.0
"""Seconds after which what has not happened does not happen any more."""

PROGRAMS = {
    "uvicorn": ["-m", "uvicorn"],
    "fast-channels": ["-m", "fast_channels"],
    "pytest": ["-m", "pytest"],
    "python": [],
}


def commands(page: Page, program: str) -> list[str]:
    """The lines of the shell blocks of `page` that call `program`, in their order."""
    code = "".join(block.code for block in page.blocks if block.language == "sh").replace("\\\n", " ")
    return [line for line in code.splitlines() if shlex.split(line, comments=True)[:1] == [program]]


class Running:
    """What runs in a folder: the programs that a page starts. All end with the block."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        plain = {"PYTHONUNBUFFERED": "1", "PYTHONOPTIMIZE": "", "PYTEST_ADDOPTS": ""}  # as at a reader's
        self.environment = {**os.environ, **plain, **environment}
        self.ports: dict[str, int] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start(self, line: str) -> Process:
        """Start a command, with a free port for each that it names; of a server, return when it answers."""
        program, *arguments = shlex.split(line, comments=True)
        words = [self._ported(word) for word in [sys.executable, *PROGRAMS[program], *arguments]]
        process = await asyncio.create_subprocess_exec(
            *words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._stack.push_async_callback(_end, process)
        if program == "uvicorn":
            await read_until("Uvicorn running on", process)
            self._stack.enter_context(_Drained(process))
        return process

    async def run(self, line: str) -> str:
        """Run a command to its end, which must be good; what it has printed."""
        process = await self.start(line)
        output, _ = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def post(self, line: str) -> None:
        """Do what a call of curl does: a POST without a body."""
        *_, url = shlex.split(line)
        async with httpx.AsyncClient() as client:
            response = await client.post(self.address(url), timeout=PATIENCE)
        assert response.is_success

    async def client(self, path: str, port: str = "8000") -> ClientConnection:
        """A WebSocket to the server that the page has on `port`."""
        address = self.address(f"ws://localhost:{port}{path}")
        return await self._stack.enter_async_context(connect(address, proxy=None))

    def address(self, url: str) -> str:
        """`url`, where it leads here."""
        for named, port in self.ports.items():
            url = url.replace(f"localhost:{named}", f"127.0.0.1:{port}")
        return url

    def _ported(self, word: str) -> str:
        if word.isdigit() and len(word) == 4:
            return str(self.ports.setdefault(word, free_port()))
        return word


async def read_until(text: str, process: Process) -> str:
    """Read what `process` prints until a line has `text` in it."""
    seen = ""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while text not in seen:
            line = (await process.stdout.readline()).decode()
            assert line, f"it has ended:\n{seen}"
            seen += line
    return seen


async def hear(client: ClientConnection, *texts: str) -> list[str]:
    """Read until the last of `texts` comes, and see that all of them came, in this order."""
    heard: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not heard or heard[-1] != texts[-1]:
            heard.append(str(await client.recv()))
    assert [text for text in heard if text in texts] == list(texts), heard
    return heard


class _Drained:
    """Reads what a process prints, so that it never waits for a reader."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        self._task = asyncio.ensure_future(self._process.stdout.read())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
