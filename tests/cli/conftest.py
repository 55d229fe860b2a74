"""A folder of a user's, in which the command runs, and a server that it is sent to."""

import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

WriteModule = Callable[[str, str], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel_layers: ChannelLayerRegistry) -> Iterator[Path]:
    """The current folder. What is imported from it is forgotten afterwards, and so are the layers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], None]:
    """Writes a module of the user's."""

    def write(name: str, code: str) -> None:
        (folder / name).write_text(code)
        importlib.invalidate_caches()  # the folder may have been looked at a moment ago

    return write


# The layers of a server, which a command reaches by the options `server`


@pytest.fixture
def prefix() -> str:
    """What the names of a test begin with."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def queue(redis_url: str, prefix: str) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer(hosts=[redis_url], prefix=prefix) as layer:
        yield layer
        await layer.flush()


@pytest.fixture
async def pubsub(redis_url: str, prefix: str) -> AsyncIterator[RedisPubSubChannelLayer]:
    async with RedisPubSubChannelLayer(hosts=[redis_url], prefix=prefix) as layer:
        yield layer


@pytest.fixture
def server(redis_url: str, prefix: str) -> list[str]:
    """The options that say where."""
    return ["--redis-url", redis_url, "--prefix", prefix]
