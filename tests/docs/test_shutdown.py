"""The page on stopping a server: what it configures fits what it says."""

import re
from collections.abc import Callable

import httpx

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.docs.pages import Page

PAGE = "docs/howto/shutdown.md"


async def test_the_probe_asks_what_the_page_answers(
    open_page: Callable[[str], Page], channel_layers: ChannelLayerRegistry
) -> None:
    page = open_page(PAGE)
    channel_layers.register("default", InMemoryChannelLayer())
    app = (await page.run())["app"]
    [probe] = [code for name, code in page.files if name == "probes.yaml"]
    found = re.search(r"path: (\S+), port: 8000 }\n  periodSeconds: (\d+)\n  timeoutSeconds: (\d+)\n", probe)
    assert found
    path, period, timeout = found[1], int(found[2]), int(found[3])
    assert 1 < timeout <= period  # `ready()` takes a second at most
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        assert (await client.get(path)).status_code == 200
