"""Three servers to break, and what is known about what went through them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.scene import Scene
from tests.support.servers import KINDS, find_server_binaries, server_binary

Serve = Callable[..., ServerProcess]

Scenario = Callable[[ServerProcess, Scene], Awaitable[None]]

Everywhere = Callable[..., Awaitable[None]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which server: a test that uses this, or what follows from it, runs on each."""
    return str(request.param)


@pytest.fixture
def serve(kind: str) -> Iterator[Serve]:
    """Start servers with a configuration of their own."""
    binary = server_binary(kind)
    with ExitStack() as stack:
        yield lambda **config: stack.enter_context(ServerProcess(config, binary=binary))


@pytest.fixture
def server(serve: Serve) -> ServerProcess:
    """A server of the test's own."""
    return serve()


@pytest.fixture
async def scene(server: ServerProcess, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on `server`."""
    async with Scene(server.url, tmp_path) as scene:
        yield scene


@pytest.fixture
def everywhere(tmp_path: Path) -> Everywhere:
    """Run a scenario, and servers with a configuration, on all of them at the same time: for where most is waiting."""
    binaries = find_server_binaries()

    async def on_one(kind: str, scenario: Scenario, config: dict[str, str]) -> None:
        try:
            with ServerProcess(config, binary=binaries[kind]) as server:
                async with Scene(server.url, tmp_path / kind) as scene:
                    await scenario(server, scene)
        except BaseException as error:
            error.add_note(f"on {kind}")
            raise

    async def run(scenario: Scenario, **config: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            for kind in binaries:
                tasks.create_task(on_one(kind, scenario, config))
        if missing := [KINDS[kind] for kind in KINDS if kind not in binaries]:
            pytest.skip(f"passed on {', '.join(binaries)}; {'; '.join(missing)}")

    return run
