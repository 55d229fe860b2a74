"""Whatever the library runs on is up quickly, from nothing: nobody waits for servers before they can begin."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Self

import pytest

from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary
from tests.support.clusters import ClusterOfServers
from tests.support.sentinels import Trio

SECONDS = 10.0


class SeveralHosts(ExitStack):
    """Three servers that know nothing of each other."""

    def __enter__(self) -> Self:
        for _ in range(3):
            self.enter_context(ServerProcess())
        return super().__enter__()


TOPOLOGIES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "one server": ServerProcess,
    "several hosts": SeveralHosts,
    "Sentinel": Trio,
    "Cluster": ClusterOfServers,
}


@pytest.mark.skipif(find_server_binary() is None, reason=NO_SERVER)
def test_all_topologies_one_after_another_are_up_within_ten_seconds() -> None:
    took: dict[str, float] = {}
    with ExitStack() as stack:
        for name, start in TOPOLOGIES.items():
            began = time.monotonic()
            stack.enter_context(start())
            took[name] = time.monotonic() - began
            print(f"{name}: up after {took[name]:.2f} s")
    assert sum(took.values()) < SECONDS, took
