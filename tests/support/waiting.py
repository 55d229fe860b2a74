"""Waiting for what nobody announces."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["PATIENCE", "until"]

PATIENCE = 30.0
"""Seconds: long, because the machine may be busy; no test waits as long unless it fails."""


async def until(condition: Callable[[], object], what: str = "", timeout: float = PATIENCE) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: it was not in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what or f"{condition} did not come true in {timeout:g} s"
        await asyncio.sleep(0.002)
