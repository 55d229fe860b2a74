"""WebSocket connections without a network: the ASGI callables that a server would hand to an application.

Runs in every environment: standard library only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = ["Application", "IdleSocket", "open_sockets", "scope"]

Application = Callable[[Any, Any, Any], Awaitable[Any]]


def scope(path: str = "/") -> dict[str, Any]:
    """The scope of a WebSocket connection to `path`."""
    return {"type": "websocket", "path": path, "headers": [], "query_string": b"", "subprotocols": []}


class IdleSocket:
    """A client that connects, says nothing, and leaves when it is told to."""

    __slots__ = ("_connected", "_left", "accepted", "task", "texts")

    def __init__(self, application: Application) -> None:
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self._left: asyncio.Future[None] = loop.create_future()
        self._connected = False
        self.texts: list[str] = []
        self.task = asyncio.ensure_future(application(scope(), self.receive, self.send))
        self.task.add_done_callback(self._ended)

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await self._left
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self.accepted.set_result(None)
        elif message["type"] == "websocket.send":
            self.texts.append(message["text"])

    def _ended(self, task: "asyncio.Future[Any]") -> None:
        if not self.accepted.done():
            self.accepted.set_exception(ConnectionRefusedError(f"the application ended before it accepted: {task!r}"))

    def leave(self) -> None:
        """Disconnect. The application ends soon after."""
        self._left.set_result(None)


async def open_sockets(application: Application, count: int, at_once: int) -> list[IdleSocket]:
    """`count` accepted connections, opened `at_once` at a time."""
    sockets: list[IdleSocket] = []
    while len(sockets) < count:
        opening = [IdleSocket(application) for _ in range(min(at_once, count - len(sockets)))]
        for socket in opening:
            await socket.accepted
        sockets += opening
    return sockets
