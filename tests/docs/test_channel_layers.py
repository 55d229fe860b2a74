"""The guide to channel layers does what it says: what its functions register, sends; what it quotes, is said."""

import asyncio
import logging
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull, InvalidChannelLayerError, OutcomeUnknown, ServerUnreachable
from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, InMemoryChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing import WebsocketCommunicator
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import Page

NAME = "docs/guide/channel-layers.md"
MESSAGE = {"type": "chat.message", "text": "hello"}


@pytest.fixture
def page(open_page: Callable[[str], Page]) -> Page:
    return open_page(NAME)


async def assert_carries(layer: BaseChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", MESSAGE)
    async with asyncio.timeout(10):
        assert await layer.receive(channel) == MESSAGE


async def set_up_with_each(page: Page, registry: ChannelLayerRegistry) -> list[dict[str, BaseChannelLayer]]:
    """What each `setup_channel_layers()` of the page registers; every layer is tried and closed."""
    found = []
    for block in page.steps:
        await block.run(page.namespace)
        if "def setup_channel_layers" in block.code:
            registry.clear()
            page.namespace["setup_channel_layers"]()
            page.namespace["setup_channel_layers"]()  # a second call changes nothing
            found.append({alias: registry[alias] for alias in registry.list_aliases()})
            for layer in found[-1].values():
                await assert_carries(layer)
            await registry.close()
    return found


# Setting up


async def test_the_first_setup_registers_before_the_application_is_made(
    page: Page, channel_layers: ChannelLayerRegistry
) -> None:
    main = import_module("main")
    assert channel_layers.list_aliases() == ["default"]
    async with main.app.router.lifespan_context(main.app):
        await assert_carries(channel_layers["default"])


async def test_several_layers_and_the_one_for_development(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    several, development = await set_up_with_each(page, channel_layers)
    assert list(several) == ["presence", "chat", "prices"]
    assert [type(layer) for layer in development.values()] == [InMemoryChannelLayer]


async def test_the_one_for_production(
    page: Page, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV", "production")
    *_, production = await set_up_with_each(page, channel_layers)
    assert [type(layer) for layer in production.values()] == [RedisPubSubChannelLayer]
    channel_layers.clear()
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(ValueError, match="REDIS_URL"):
        page.namespace["setup_channel_layers"]()


async def test_the_lifespan_of_an_application_with_one_of_its_own(
    page: Page, channel_layers: ChannelLayerRegistry
) -> None:
    namespace = await page.run()
    app, layer = namespace["app"], InMemoryChannelLayer()
    channel_layers.register("default", layer)
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert app.state.started
            await layer.group_add("room", await layer.new_channel())
        assert not layer.groups


@pytest.mark.parametrize("fixture", ["in_memory_layer", "pubsub_layer"])
async def test_sending_from_coroutines_and_from_a_thread(
    page: Page, channel_layers: ChannelLayerRegistry, fixture: str, request: pytest.FixtureRequest
) -> None:
    namespace = await page.run()
    layer: BaseChannelLayer = request.getfixturevalue(fixture)
    channel_layers.register("default", layer)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await namespace["tell_everybody"]("one")
    await namespace["tell_one"](channel, "two")
    for _ in range(3):
        await asyncio.to_thread(namespace["job_done"], 42)
    texts = [(await layer.receive(channel))["text"] for _ in range(5)]
    assert texts == ["one", "two", *["job 42 is done"] * 3]


EXTRA = "the Redis layers need a package that is missing (redis): pip install"  # tests/test_package.py provokes it

# Troubleshooting: each message that the page quotes is the one that comes


def quoted(page: Page) -> list[str]:
    """The messages in the headings of the section, as the beginnings of what is said."""
    _, _, section = page.text.partition("## Troubleshooting")
    return re.findall(r"^### `(.+)`$", section, re.MULTILINE)


def as_pattern(text: str) -> str:
    """What `text` stands for: names, numbers and addresses are examples."""
    text = re.escape(text.partition(": ")[2] if re.match(r"[A-Z]\w+: ", text) else text)
    for example in ("…", r"redis://…", "xyz", "chat", "room"):
        text = text.replace(re.escape(example), ".+")
    return re.sub(r"\d+(\\\.\d+)?", r"[0-9.]+", text)


async def provoke(server: ServerProcess, registry: ChannelLayerRegistry) -> list[str]:
    """Everything that the section is about, and what was said."""
    said: list[str] = []
    registry.register("default", InMemoryChannelLayer())

    with pytest.raises(KeyError) as missing:
        registry["xyz"]
    said.append(str(missing.value.args[0]))

    memory = InMemoryChannelLayer(capacity=1)
    channel = await memory.new_channel()
    await memory.group_add("room", channel)
    await memory.send(channel, MESSAGE)
    with pytest.raises(ChannelFull) as full:
        await memory.send(channel, MESSAGE)
    said.append(str(full.value))
    await memory.group_send("room", MESSAGE)

    layer = RedisPubSubChannelLayer(hosts=[server.url], prefix="chat", send_timeout=0.2)
    async with layer:
        await layer.new_channel()
        server.restart()
        async with asyncio.timeout(10):
            while layer.last_gap is None:
                await asyncio.sleep(0.01)
        await layer.send("somebody", MESSAGE)
        server.pause()
        sending = asyncio.ensure_future(layer.send("somebody", MESSAGE))
        for _ in range(5):  # turns of the event loop, after which it is sent; the server does not answer
            await asyncio.sleep(0)
        server.kill()
        with pytest.raises(OutcomeUnknown) as unknown:
            await sending
        said.append(str(unknown.value))
        with pytest.raises(ServerUnreachable) as unreachable:
            await layer.send("somebody", MESSAGE)
        said.append(str(unreachable.value))
    return said


async def test_every_message_that_is_quoted_is_what_is_said(
    channel_layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fast_channels")
    with ServerProcess() as server:
        said = await provoke(server, channel_layers)
    said += [record.getMessage() for record in caplog.records]
    said.append(EXTRA)
    assert len(quoted(Page(NAME))) == 7
    for text in quoted(Page(NAME)):
        assert any(re.match(as_pattern(text), line) for line in said), (as_pattern(text), said)


async def test_a_consumer_without_its_layer_refuses(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    from fast_channels.consumer import AsyncWebsocketConsumer

    class Lost(AsyncWebsocketConsumer):
        channel_layer_alias = "xyz"

    with pytest.raises(InvalidChannelLayerError, match="Channel layer 'xyz' not registered"):
        await WebsocketCommunicator(Lost.as_asgi(), "/").connect()


async def test_the_gap_is_reported_to_the_callback(
    page: Page, capsys: pytest.CaptureFixture[str], redis_server: ServerProcess
) -> None:
    namespace = await page.run()
    layer: Any = namespace["layer"]
    async with layer:
        await layer.new_channel()
        redis_server.restart()
        async with asyncio.timeout(10):
            while "heard nothing" not in capsys.readouterr().out:
                await asyncio.sleep(0.01)
