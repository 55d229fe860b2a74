"""A client of a consumer and the server between them, in the hands of a test."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

Event = dict[str, Any]

CONNECT: Event = {"type": "websocket.connect"}
ACCEPT: Event = {"type": "websocket.accept", "subprotocol": None, "headers": []}


def text(data: str) -> Event:
    return {"type": "websocket.receive", "text": data}


def sent_text(data: str) -> Event:
    return {"type": "websocket.send", "text": data}


def goodbye(code: int = 1001) -> Event:
    return {"type": "websocket.disconnect", "code": code}


def closing(code: int = 1000, reason: str | None = None) -> Event:
    return {"type": "websocket.close", "code": code, "reason": reason}


class Client:
    """Runs an ASGI application in a task, from the first `say()` on.

    Attributes:
        sent: what the application sent.
        broken: set it to an exception that `send` raises from then on.
    """

    def __init__(self, application: Callable[..., Coroutine[Any, Any, None]], scope: Event | None = None) -> None:
        self.sent: list[Event] = []
        self.broken: BaseException | None = None
        self.received = 0
        self._inbox: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._application = application
        self._scope = {"type": "websocket", "path": "/"} if scope is None else scope
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> "asyncio.Task[None]":
        """The server's task."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._application(self._scope, self.receive, self.send))
        return self._task

    async def receive(self) -> Event:
        item = await self._inbox.get()
        self.received += 1
        if not isinstance(item, BaseException):
            return item
        try:
            raise item
        finally:
            del item  # the traceback would hold this frame, and this frame the error

    async def send(self, event: Event) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent.append(event)

    def say(self, *items: Event | BaseException) -> None:
        """What `receive` returns next; an exception is raised there."""
        _ = self.task
        for item in items:
            self._inbox.put_nowait(item)

    async def connect(self) -> None:
        """Connect, and be accepted."""
        self.say(CONNECT)
        await self.until_sent(1)
        assert self.sent[0]["type"] == "websocket.accept"

    async def until_sent(self, count: int) -> None:
        """Wait until the application has sent `count` events in all."""
        await until(lambda: len(self.sent) >= count)

    async def ended(self, timeout: float = 5) -> None:
        """Wait until the application has returned, and raise what it raised."""
        async with asyncio.timeout(timeout):
            await asyncio.wait((self.task,))
        self.task.result()

    async def leave(self, code: int = 1001) -> None:
        """Disconnect, and wait until the application has returned."""
        self.say(goodbye(code))
        await self.ended()

    async def cancel(self) -> None:
        """Cancel the server's task, and wait until it has ended."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        assert self.task.cancelled()

    def forget(self) -> None:
        """Let go of the task, whose exception may have a traceback that leads back here."""
        self._task = None

    @property
    def texts(self) -> list[str]:
        """The text frames that the application sent."""
        return [event["text"] for event in self.sent if event["type"] == "websocket.send"]


async def until(condition: Callable[[], bool], timeout: float = 5) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Let everything run that can run by now."""
    for _ in range(count):
        await asyncio.sleep(0)


def other_tasks() -> "set[asyncio.Task[Any]]":
    """The tasks of this loop but for the test's own."""
    return asyncio.all_tasks() - {task for task in [asyncio.current_task()] if task is not None}
