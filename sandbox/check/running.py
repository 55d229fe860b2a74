"""Steps of the check, and what they use."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from sandbox.client import NotSeen, Page
from sandbox.demo import Demo
from sandbox.web import fetch

__all__ = ["Step", "both", "check_steps", "in_room", "kill", "post", "some_room", "some_text"]

Step = Callable[[Demo], Awaitable[str]]
"""Does one thing and says what it saw.

Raises:
    NotSeen: something did not come.
"""


async def check_steps(demo: Demo, steps: Sequence[Step]) -> int:
    """Take `steps`, all at the same time, print what each saw when it is done, and return how many failed."""
    return sum(await asyncio.gather(*(fails(demo, step) for step in steps)))


async def fails(demo: Demo, step: Step) -> bool:
    """Whether a step failed; prints what it saw."""
    started = time.perf_counter()
    try:
        verdict, seen = "ok    ", await step(demo)
    except (NotSeen, OSError) as error:
        verdict, seen = "FAILED", str(error) or type(error).__name__
    print(f"  {verdict} {step.__doc__}\n         {seen}, {time.perf_counter() - started:.3f} s", flush=True)
    return verdict == "FAILED"


@asynccontextmanager
async def both(demo: Demo, path: str) -> AsyncIterator[tuple[Page, Page]]:
    """A page at each server."""
    first, second = demo.servers
    async with Page(first.address, path) as one, Page(second.address, path) as other:
        yield one, other


def in_room(room: str) -> str:
    """The path of a room."""
    return f"/ws/chat/{room}"


async def post(url: str, body: dict[str, Any], origin: str | None = None) -> None:
    """POST `body`; NotSeen unless the server took it."""
    status, answer = await fetch(url, body, origin)
    if status != 202:
        raise NotSeen(f"POST {url} was answered with {status}: {answer}")


async def kill(address: str, name: str) -> None:
    """Press the button that kills a process, in the page at `address`."""
    await post(f"{address}/api/processes/{name.replace(' ', '%20')}/kill", {}, origin=address)


def some_room() -> str:
    """A room in which nobody is: the Redis server may be shared."""
    return f"check-{uuid4().hex[:8]}"


def some_text() -> str:
    """A text that nobody else says."""
    return f"hello {uuid4().hex[:8]}"
