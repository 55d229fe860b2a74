"""The page on backpressure: its bounds are those of the code, and who is told, is told."""

from collections.abc import Callable

import httpx
import pytest

from fast_channels.consumer.pump import READ_AHEAD
from fast_channels.exceptions import ChannelFull
from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.mailbox import OVERFLOW_POLICIES
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.wiring import INBOX_BOUND
from tests.docs.pages import Page

NAME = "docs/topics/backpressure.md"


def test_the_bounds_are_those_of_the_code() -> None:
    text = Page(NAME).text
    assert f"`capacity`, {BaseChannelLayer().capacity} by default" in text
    assert f"{INBOX_BOUND:,} messages" in text
    assert f"`send_timeout`, {Patience().send:g} seconds" in text
    assert f"at most {READ_AHEAD} frames ahead" in text
    for policy in OVERFLOW_POLICIES:
        assert f"| `{policy}`" in text


async def test_patience_ends(open_page: Callable[[str], Page]) -> None:
    send = (await open_page(NAME).run())["send_with_patience"]
    async with InMemoryChannelLayer(capacity=1) as layer:
        await send(layer, "jobs", {"number": 1})
        with pytest.raises(ChannelFull):
            await send(layer, "jobs", {"number": 2}, attempts=2)
        await layer.receive("jobs")
        await send(layer, "jobs", {"number": 3})


async def test_an_endpoint_says_that_it_is_busy(
    open_page: Callable[[str], Page], channel_layers: ChannelLayerRegistry
) -> None:
    app = (await open_page(NAME).run())["app"]
    channel_layers.register("jobs", InMemoryChannelLayer(capacity=1))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [await client.post("/jobs", params={"number": 5}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[1].headers["retry-after"] == "5"
