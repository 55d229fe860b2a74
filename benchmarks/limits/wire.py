"""The smallest connection there can be: bytes to `hiredis`, replies to one callback."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

__all__ = ["CHANNEL", "Wire", "command", "connect"]

CHANNEL = b"bench|limit"

_NOT_YET = object()
_pack: Any = hiredis.pack_command  # its types know commands of one word only


def command(*words: str | bytes) -> bytes:
    """A command as the server reads it."""
    return bytes(_pack(words))


class Wire(asyncio.Protocol):
    """One connection. `on_reply` gets everything that the server says, pushes and replies."""

    def __init__(self, on_reply: Callable[[Any], None]) -> None:
        self.on_reply = on_reply
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _NOT_YET:
            self.on_reply(reply)

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._transport.write(data)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


async def connect(url: str, on_reply: Callable[[Any], None], *, subscribe: bool) -> Wire:
    """A connection to the server at `url` that speaks RESP3, subscribed to `CHANNEL` if asked."""
    greeted = asyncio.get_running_loop().create_future()

    def greeting(reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification) or (not subscribe and isinstance(reply, dict)):
            greeted.set_result(None)

    at = urlsplit(url)
    host, port = at.hostname or "127.0.0.1", at.port or 6379
    _, wire = await asyncio.get_running_loop().create_connection(lambda: Wire(greeting), host, port)
    wire.write(command("HELLO", "3"))
    if subscribe:
        wire.write(command("SUBSCRIBE", CHANNEL))
    await greeted
    wire.on_reply = on_reply
    return wire
