"""Servers to break, and traffic through them."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary
from tests.support.loops import loop_factories


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loop_factories(item)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server of the test's own."""
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ServerProcess() as server:
        yield server
