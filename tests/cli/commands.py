"""Commands as processes of their own, as a person types them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.waiting import PATIENCE

__all__ = ["Done", "call", "end_of", "process_of", "running", "until_said"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr that says what is wrong."""
        assert "Traceback" not in self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("fast-channels: "), self.err
        return self.err.removeprefix("fast-channels: ").rstrip("\n")


async def process_of(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> "asyncio.subprocess.Process":
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "fast_channels", *arguments),
        cwd=folder,
        env={**inherited, **(environment or {})},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def call(folder: Path, *arguments: str, stdin: bytes | None = None, **environment: str) -> Done:
    """Runs `fast-channels …` to its end."""
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    process = await process_of(folder, *arguments, environment=environment, stdin=source)
    return await end_of(process, stdin)


async def end_of(process: "asyncio.subprocess.Process", stdin: bytes | None = None) -> Done:
    """How it ends; killed if it does not."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Done(process.returncode, (out or b"").decode(), (err or b"").decode())


async def until_said(process: "asyncio.subprocess.Process", text: str) -> None:
    """Reads stderr until `text` came."""
    assert process.stderr is not None
    seen = ""
    async with asyncio.timeout(PATIENCE):
        while text not in seen:
            line = await process.stderr.readline()
            assert line, seen
            seen += line.decode()


@asynccontextmanager
async def running(
    folder: Path, *arguments: str, says: str, **environment: str
) -> AsyncIterator["asyncio.subprocess.Process"]:
    """A command that has said something on stderr; killed at the end of the block if it runs then."""
    process = await process_of(folder, *arguments, environment=environment)
    try:
        await until_said(process, says)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
