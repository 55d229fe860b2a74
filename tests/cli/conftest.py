"""A folder of a user's, in which the command runs."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fast_channels.layers import ChannelLayerRegistry

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
