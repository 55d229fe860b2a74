"""What every example is run against."""

from collections.abc import Iterator

import pytest

from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A server of the test's own: a task queue keeps things there, too."""
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ServerProcess() as server:
        yield server.url
