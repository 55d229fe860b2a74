"""The way from a server to its supervisor: a pipe, on which it may name a process that is to be killed.

Only the supervisor knows the processes, so a server can name no other. Without a supervisor, there is nothing to kill.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["FD", "NAMES", "ask_to_kill", "commands", "names"]

FD = "SANDBOX_CONTROL"
"""In the environment of a server: the descriptor of the pipe."""

NAMES = "SANDBOX_PROCESSES"
"""In the environment of a server: which processes may be named, with commas between them."""


def names() -> list[str]:
    """The processes that may be killed."""
    return [name for name in os.getenv(NAMES, "").split(",") if name and FD in os.environ]


def ask_to_kill(name: str) -> None:
    """Ask the supervisor to kill a process, one of `names()`."""
    os.write(int(os.environ[FD]), f"{name}\n".encode())  # less than PIPE_BUF: lines of two servers do not mix


@asynccontextmanager
async def commands() -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """For the supervisor: the descriptor that servers get, and what they write to it."""
    reading, writing = os.pipe()
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(reading, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), pipe)
    try:
        yield writing, lines
    finally:
        transport.close()
        os.close(writing)
