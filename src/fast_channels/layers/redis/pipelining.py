"""Many messages at once: none waits for the answer to the one before, and not too many are under way."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Self

from fast_channels.exceptions import ServerUnreachable

__all__ = ["Pipeline"]

MOST: Final = 1000
MOST_BYTES: Final = 16 * 1024 * 1024
"""What is under way at most: others send, too."""


class Pipeline:
    """Starts one thing after the other, and keeps what became of each.

    What a server that was away for `send_timeout` seconds has not got is not tried there again: then thousands would
    wait as long, one lot after the other.
    """

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        """What each resolved with, or its error, in the order in which they were started."""
        self._under_way: deque[tuple[str, int, object, asyncio.Future[Any] | Exception]] = deque()
        self._ways: set[object] = set()  # on which something is under way
        self._bytes = 0
        self._away: dict[str, ServerUnreachable] = {}

    def __repr__(self) -> str:
        return f"<Pipeline: {len(self.outcomes)} done, {len(self._under_way)} under way>"

    async def start(
        self, server: str, size: int, begin: "Callable[[], asyncio.Future[Any]]", way: object = None
    ) -> None:
        """Begin as soon as there is room for `size` bytes more.

        Args:
            server: where it goes; if that is away, it fails.
            size: its bytes.
            begin: begins it.
            way: where one may overtake another: then it waits for whoever is on the same way. None: nowhere.
        """
        while len(self._under_way) >= MOST or (self._under_way and self._bytes + size > MOST_BYTES):
            await self._settle()
        while way is not None and way in self._ways:
            await self._settle()
        self._under_way.append((server, size, way, self._begun(server, begin)))
        self._ways.add(way)
        self._bytes += size

    def _begun(self, server: str, begin: "Callable[[], asyncio.Future[Any]]") -> "asyncio.Future[Any] | Exception":
        if server in self._away:
            return self._away[server]
        try:
            return begin()
        except ServerUnreachable as error:  # too much waits for it
            return error

    async def _settle(self) -> None:
        """Wait for the one that was begun first."""
        server, size, way, outcome = self._under_way[0]
        result: Any = outcome
        if isinstance(outcome, asyncio.Future):
            try:
                result = await outcome
            except Exception as error:
                result = error
        if isinstance(result, ServerUnreachable):
            self._away.setdefault(server, result)
        self._under_way.popleft()
        self._ways.discard(way)
        self._bytes -= size
        self.outcomes.append(result)

    async def finish(self) -> list[Any]:
        """Wait for all, and return what became of each."""
        while self._under_way:
            await self._settle()
        return self.outcomes

    def give_up(self) -> None:
        """Wait for nothing any more; what was not sent is not sent."""
        for *_, outcome in self._under_way:
            if isinstance(outcome, asyncio.Future):
                outcome.cancel()
        self._under_way.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_up()
