"""What a page is to a server: WebSockets. `--check` uses them in the place of a browser."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

__all__ = ["Lost", "NotSeen", "Page"]


PATIENCE = 30.0
"""Seconds to wait for a message. A job goes on within 10 seconds of its worker's death, and the machine may be busy."""


class NotSeen(Exception):
    """Something that should have come did not."""


class Lost(NotSeen):
    """The connection ended before it came."""


class Page:
    """An `async with` block in which a WebSocket to a server is open.

    Args:
        address: of the server.
        path: which WebSocket.
        greeted: whether the server says hello, which is awaited.
    """

    def __init__(self, address: str, path: str, greeted: bool = True) -> None:
        self.url = address.replace("http", "ws", 1) + path
        self.hello: dict[str, Any] = {}
        self._address = address
        self._greeted = greeted

    @property
    def pid(self) -> int:
        """The process that serves it."""
        pid: int = self.hello["pid"]
        return pid

    async def __aenter__(self) -> Self:
        origin: Any = self._address  # as a browser says
        try:
            self._socket: ClientConnection = await connect(self.url, origin=origin, proxy=None, open_timeout=PATIENCE)
        except (WebSocketException, TimeoutError, ConnectionError) as error:
            raise NotSeen(f"{self.url} did not accept: {error}") from error
        if self._greeted:
            self.hello = await self.sees(type="hello")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def say(self, **message: Any) -> None:
        """Send `message`."""
        try:
            await self._socket.send(json.dumps(message))
        except WebSocketException as error:
            raise Lost(f"{self.url} closed: {error}") from error

    async def type(self, text: str) -> None:
        """Type `text` into the page."""
        await self.say(name="Check", text=text)

    async def sees(self, **wanted: Any) -> dict[str, Any]:
        """The next message that has all of `wanted`; a value that is a function is asked.

        Raises:
            NotSeen: none came within `PATIENCE`.
            Lost: the server closed.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    message: dict[str, Any] = json.loads(await self._socket.recv())
                    if all(matches(message.get(name), value) for name, value in wanted.items()):
                        return message
        except TimeoutError:
            raise NotSeen(f"{self.url} showed nothing like {wanted} within {PATIENCE:g} s") from None
        except WebSocketException as error:
            raise Lost(f"{self.url} closed before it showed {wanted}: {error}") from error


def matches(value: Any, wanted: Any) -> bool:
    """Whether `value` is what is wanted."""
    return bool(wanted(value)) if callable(wanted) else value == wanted
