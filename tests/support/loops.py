"""Tests that run on both event loops."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

__all__ = ["both_loops", "loop_factories"]

both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
"""Run an async test on asyncio's own loop and on uvloop; needs `loop_factories` as a hook in the folder's conftest."""


def loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What `pytest_asyncio_loop_factories` answers: both for who asks, asyncio for everybody else."""
    marker = item.get_closest_marker("asyncio")
    wanted = marker.kwargs.get("loop_factories") if marker is not None else None
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if wanted:
        factories["uvloop"] = uvloop.new_event_loop
    return factories
