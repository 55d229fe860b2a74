"""When a layer cannot hand over messages: pauses that grow, and one line in the log for the whole time."""

import logging
import random
import time
from collections.abc import Callable

__all__ = ["Backoff", "Outage"]

logger = logging.getLogger("fast_channels.worker")

QUIET_SECONDS = 60.0
"""An error so long after the last one is news again."""


class Backoff:
    """Pauses in seconds, each about twice as long as the one before it, up to `longest`."""

    __slots__ = ("_first", "_longest", "_next")

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = self._next = first
        self._longest = longest

    def pause(self) -> float:
        """The next pause. Many workers that lost one server do not come back at the same moment."""
        pause = self._next * random.uniform(0.75, 1.25)  # noqa: S311
        self._next = min(2 * self._next, self._longest)
        return pause

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next = self._first


class Outage:
    """What went wrong with one channel of a layer, from the first error to the next message."""

    __slots__ = ("_channel", "_clock", "_errors", "_first", "_last")

    def __init__(self, channel: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._errors = 0
        self._first = self._last = 0.0

    def report(self, error: Exception, doing: str) -> None:
        """Count an `error`, met while `doing` something; the first of an outage is logged."""
        now = self._clock()
        if self._errors and now - self._last > QUIET_SECONDS:
            self._errors = 0
        if not self._errors:
            self._first = now
            logger.error(
                "channel %s: %s failed (%s: %s); the worker goes on trying",
                self._channel,
                doing,
                type(error).__name__,
                error,
            )
        self._errors += 1
        self._last = now

    def over(self) -> None:
        """A message was taken."""
        if self._errors:
            logger.info(
                "channel %s: messages come again, after %d failed attempts in %.1f s",
                self._channel,
                self._errors,
                self._last - self._first,
            )
            self._errors = 0
