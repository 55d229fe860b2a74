"""What a page is to a server: a WebSocket. `--check` uses it in the place of a browser."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

__all__ = ["NotSeen", "Page"]


PATIENCE = 10.0
"""Seconds to wait for a message; the sender sends less often than anybody else, every 5 s."""


class NotSeen(Exception):
    """Something that should have come did not."""


class Page:
    """An `async with` block in which a WebSocket to a server is open."""

    def __init__(self, address: str, room: str = "", path: str = "", greeted: bool = True) -> None:
        self.url = address.replace("http", "ws", 1) + (path or f"/ws/chat/{room}")
        self.pid = 0
        self._greeted = greeted and not path

    async def __aenter__(self) -> Self:
        try:
            self._socket: ClientConnection = await connect(self.url, proxy=None, open_timeout=PATIENCE)
        except (WebSocketException, TimeoutError) as error:
            raise NotSeen(f"{self.url} did not accept: {error}") from error
        if self._greeted:
            self.pid = (await self.sees(type="hello"))["pid"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def type(self, text: str) -> None:
        """Type `text` into the page."""
        await self._socket.send(json.dumps({"name": "Check", "text": text}))

    async def sees(self, **wanted: Any) -> dict[str, Any]:
        """The next message that has all of `wanted`.

        Raises:
            NotSeen: none came within `PATIENCE`, or the server closed.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    message: dict[str, Any] = json.loads(await self._socket.recv())
                    if wanted.items() <= message.items():
                        return message
        except TimeoutError:
            raise NotSeen(f"{self.url} showed nothing like {wanted} within {PATIENCE:g} s") from None
        except WebSocketException as error:
            raise NotSeen(f"{self.url} closed before it showed {wanted}: {error}") from error
