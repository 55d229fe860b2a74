"""`--check`: does the demo do what it says? Asked with real WebSocket clients at both servers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from sandbox.client import NotSeen, Page
from sandbox.demo import Demo
from sandbox.rooms import LOBBY
from sandbox.web import fetch

__all__ = ["Step", "check", "notified", "posted", "sent", "two_processes", "typed_at_one"]

Step = Callable[[Demo], Awaitable[str]]
"""Does one thing and says what it saw.

Raises:
    NotSeen: something did not come.
"""


async def check(demo: Demo, steps: Sequence[Step] = ()) -> int:
    """Take `steps`, or every step there is, print what it saw, and return the exit code: 0 if all went well, else 1."""
    steps = steps or STEPS
    failed = 0
    for step in steps:
        started = time.perf_counter()
        try:
            verdict, seen = "ok    ", await step(demo)
        except (NotSeen, OSError) as error:
            verdict, seen = "FAILED", str(error) or type(error).__name__
            failed += 1
        print(f"  {verdict} {step.__doc__}\n         {seen}, {time.perf_counter() - started:.3f} s", flush=True)
    print(f"\n  {len(steps) - failed} of {len(steps)} steps went well.", flush=True)
    return 1 if failed else 0


async def two_processes(demo: Demo) -> str:
    """The servers are two processes."""
    async with both(demo, LOBBY) as (first, second):
        pids = first.pid, second.pid
    if len({*pids}) != 2:
        raise NotSeen(f"both pages are served by process {first.pid}")
    return f"pages served by processes {pids[0]} and {pids[1]}"


async def typed_at_one(demo: Demo) -> str:
    """What is typed at one server appears at the other."""
    seen = []
    async with both(demo, some_room()) as (first, second):
        for typist, reader in ((first, second), (second, first)):
            text = some_text()
            await typist.type(text)
            await typist.sees(text=text, mine=True)
            message = await reader.sees(text=text, pid=typist.pid, via="websocket", mine=False)
            seen.append(f"{message['text']!r} went from process {typist.pid} to {reader.pid}")
    return "; ".join(seen)


async def posted(demo: Demo) -> str:
    """What is posted over HTTP appears at both servers."""
    seen = []
    room = some_room()
    async with both(demo, room) as pages:
        for server in demo.servers:
            text = some_text()
            await post(f"{server.address}/api/rooms/{room}/messages", {"text": text})
            for page in pages:
                await page.sees(text=text, via="http", pid=server.child.pid)
            seen.append(f"{text!r} posted to process {server.child.pid} appeared at both")
    return "; ".join(seen)


async def sent(demo: Demo) -> str:
    """What a process that is no server sends appears at both servers."""
    async with both(demo, LOBBY) as pages:
        messages = [await page.sees(via="sender", pid=demo.sender.pid) for page in pages]
    return f"{messages[0]['text']!r} from process {demo.sender.pid} appeared at both"


async def other_rooms(demo: Demo) -> str:
    """Another room hears nothing of it."""
    server = demo.servers[1]
    async with both(demo, some_room()) as (first, second), Page(server.address, room := some_room()) as outside:
        await first.type(secret := some_text())
        await second.sees(text=secret)
        await outside.type(own := some_text())
        message = await outside.sees(type="message")
    if message["text"] != own:
        raise NotSeen(f"a page in room {room} got {message['text']!r} first")
    return f"a page in another room got its own {own!r} alone"


async def notified(demo: Demo) -> str:
    """A notification reaches every page, over a layer of its own."""
    first, second = demo.servers
    async with Page(second.address, path="/ws/notifications") as page:
        await post(f"{first.address}/api/notifications", {"text": (text := some_text())})
        await page.sees(type="notification", text=text)
    return f"{text!r} posted to process {first.child.pid} appeared at {second.child.pid}"


async def bad_room(demo: Demo) -> str:
    """A room that cannot be is refused with a reason."""
    address = demo.servers[0].address
    async with Page(address, "no%20room%21", greeted=False) as page:
        error = await page.sees(type="error")
    status, answer = await fetch(f"{address}/api/rooms/no%20room%21/messages", {"text": "x"})
    if status != 422:
        raise NotSeen(f"the POST was answered with {status}: {answer}")
    return f"told: {error['text']}"


STEPS: tuple[Step, ...] = (two_processes, typed_at_one, posted, sent, other_rooms, notified, bad_room)


@asynccontextmanager
async def both(demo: Demo, room: str) -> AsyncIterator[tuple[Page, Page]]:
    """A page in `room` at each server."""
    first, second = demo.servers
    async with Page(first.address, room) as one, Page(second.address, room) as other:
        yield one, other


async def post(url: str, body: dict[str, str]) -> None:
    """POST `body`; NotSeen unless the server took it."""
    status, answer = await fetch(url, body)
    if status != 202:
        raise NotSeen(f"POST {url} was answered with {status}: {answer}")


def some_room() -> str:
    """A room in which nobody is: the Redis server may be shared."""
    return f"check-{uuid4().hex[:8]}"


def some_text() -> str:
    """A text that nobody else says."""
    return f"hello {uuid4().hex[:8]}"
