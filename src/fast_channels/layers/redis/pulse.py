"""The signs of life of one event loop, and whatever else is done beside its work."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.redis.link import forget
from fast_channels.layers.redis.wiring import BEAT

__all__ = ["Pulse"]

logger = logging.getLogger("fast_channels.redis")


LATER: Final = 5.0
"""Seconds after which a loop that only sends gives signs of life as well, and looks after those that died."""


class Pulse:
    """Calls `beat` once in `BEAT` seconds while it is started, and runs what that begins.

    Args:
        name: of the task.
        beat: begins whatever is to be done.
    """

    def __init__(self, name: str, beat: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._beat = beat
        self._heart: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._work: dict[object, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Pulse {self._name}: {'beating' if self._heart else 'still'}, {len(self._work)} under way>"

    def start(self) -> None:
        """Beat, from now on. Also again: some programs cancel every task there is."""
        if self._heart is None or self._heart.done():
            self._heart = self._loop.create_task(self._keep_beating(), name=f"fast-channels {self._name}")

    def start_later(self) -> None:
        """Beat from in a while on: a loop that only sends something and ends need not be noticed."""
        if self._heart is None and self._later is None:
            self._later = self._loop.call_later(LATER, self.start)

    def stop(self) -> bool:
        """Do nothing more. Returns whether it had been started."""
        heart, self._heart = self._heart, None
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for task in (*self._work.values(), *([heart] if heart else [])):
            task.cancel()
        return heart is not None

    def abandon(self) -> None:
        """Let go of everything after the loop was closed under it."""
        for task in (*self._work.values(), *([self._heart] if self._heart else [])):
            forget(task)
        self._heart = self._later = None
        self._work.clear()

    async def _keep_beating(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(BEAT)

    def begin(self, what: object, work: Coroutine[Any, Any, object]) -> None:
        """Do it beside everything else, unless it is still being done: a server that is away delays no other."""
        if what in self._work:
            work.close()
            return
        task = self._work[what] = self._loop.create_task(self._do(what, work))
        task.add_done_callback(lambda task: self._done(what, task, work))

    def _done(self, what: object, task: "asyncio.Task[None]", work: Coroutine[Any, Any, object]) -> None:
        work.close()  # a task that is cancelled before its first step never comes to it
        if self._work.get(what) is task:
            del self._work[what]

    async def _do(self, what: object, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except FastChannelsError as error:
            logger.debug("%r: %s", what, error)  # the link says what is wrong with its server
        except Exception:
            logger.exception("a sign of life of %r failed", what)
