"""Where the code of a page runs: on a real server, with a registry of its own, and with the page's files at hand."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fast_channels.layers import ChannelLayerRegistry
from tests.docs.pages import Page


@pytest.fixture
def open_page(
    tmp_path: Path, redis_url: str, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Page]]:
    """Opens a page by its name. Its files are in the current folder, and importable."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def open_it(name: str) -> Page:
        page = Page(name)
        page.write_files(tmp_path)
        return page

    yield open_it
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(sys.modules[module].__file__):
            del sys.modules[module]
