"""Lines from a file descriptor, while an event loop turns."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

__all__ = ["lines_of"]

AHEAD: Final = 1000
"""Lines that are read before anybody wants them."""


async def lines_of(descriptor: int) -> AsyncIterator[str]:
    """The lines that are read from `descriptor`, which is closed in the end.

    A thread reads them, for a terminal, a pipe and a file are waited for in different ways. It reads the descriptor
    itself: nobody need wait for it when the program ends.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants them any more
            for line in _lines(descriptor):
                room.acquire()
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True, name="fast-channels lines").start()
    while (line := await queue.get()) is not None:
        room.release()
        yield line


def _lines(descriptor: int) -> Iterator[str]:
    rest = b""
    try:
        while data := os.read(descriptor, 65536):
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="surrogateescape") for line in lines)
        if rest:
            yield rest.decode(errors="surrogateescape")
    finally:
        os.close(descriptor)
