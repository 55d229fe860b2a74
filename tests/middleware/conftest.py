"""Tests of middleware that run on both event loops."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.loops import loop_factories


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loop_factories(item)
