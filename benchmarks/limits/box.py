"""The smallest queue between tasks of one loop: encoded entries, and one future to wake one receiver."""

import asyncio
from collections import deque
from typing import Any

import msgspec

__all__ = ["Box", "encode"]

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Box:
    """Entries for one receiver. No bounds, no counters, no second receiver: a limit, not a layer."""

    __slots__ = ("_entries", "_waiter")

    def __init__(self) -> None:
        self._entries: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, entry: bytes) -> None:
        """Queue `entry` and wake the receiver."""
        self._entries.append(entry)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.set_result(None)

    async def get(self) -> Any:
        """The next entry, decoded."""
        if not self._entries:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return _decode(self._entries.popleft())
