"""The guide to channel layers does what it says: what its functions register, sends; what it quotes, is said."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    LayerStatistics,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)
from fast_channels.layers.redis import pipelining
from fast_channels.testing import WebsocketCommunicator
from tests.docs.pages import ROOT, Page

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


@asynccontextmanager
async def running_application() -> AsyncIterator[WebsocketCommunicator]:
    """The application of the page, and a client that has joined the chat."""
    main = import_module("main")
    async with main.app.router.lifespan_context(main.app):
        client = WebsocketCommunicator(main.app, "/ws/chat", cancel_on_timeout=False)
        assert await client.connect(timeout=10) == (True, None)
        assert await client.receive_from(timeout=10) == "User joined"
        yield client
        await client.disconnect(timeout=10)


async def test_the_first_setup_registers_before_the_application_is_made(
    page: Page, channel_layers: ChannelLayerRegistry
) -> None:
    import_module("main")
    assert {alias: type(channel_layers[alias]) for alias in channel_layers.list_aliases()} == {
        "default": RedisChannelLayer
    }
    async with running_application() as client:
        await assert_carries(channel_layers["default"])
        await channel_layers["default"].group_send("chat_room", {"type": "chat.message", "message": "hello"})
        assert await client.receive_from(timeout=10) == "hello"


async def test_a_worker_answers_the_one_connection_that_it_is_told_of(
    page: Page, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = import_module("consumer").ChatConsumer.connect
    names: list[str] = []

    async def note_name(self: Any) -> None:
        names.append(self.channel_name)
        await connected(self)

    monkeypatch.setattr(import_module("consumer").ChatConsumer, "connect", note_name)
    async with running_application() as client:
        await import_module("worker").process_job("42", names[0])
        assert await client.receive_from(timeout=10) == "job 42: 168"


async def test_several_layers_and_the_one_for_development(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    several, development = await set_up_with_each(page, channel_layers)
    assert {alias: type(layer) for alias, layer in several.items()} == {
        "memory": InMemoryChannelLayer,
        "chat": RedisPubSubChannelLayer,
        "prices": RedisPubSubChannelLayer,
        "jobs": RedisChannelLayer,
    }
    assert [type(layer) for layer in development.values()] == [InMemoryChannelLayer]


async def test_the_one_for_production(
    page: Page, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENV", "production")
    *_, production = await set_up_with_each(page, channel_layers)
    assert [type(layer) for layer in production.values()] == [RedisChannelLayer]
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


async def test_a_job_comes_again_until_it_is_done(
    page: Page, channel_layers: ChannelLayerRegistry, redis_url: str
) -> None:
    namespace = await page.run()
    done: list[tuple[str, ...]] = []

    async def process_job(*job: str) -> None:
        done.append(job)
        if len(done) == 1:
            raise RuntimeError

    async with RedisChannelLayer(hosts=[redis_url], prefix=uuid4().hex, retry_delay=0.01) as layer:
        channel_layers.register("jobs", layer)
        await namespace["order"]("42", "specific.a!b")
        assert await namespace["too_much_waits"]() == []
        with pytest.raises(RuntimeError):
            await namespace["work_for_ever"](process_job)
        working = asyncio.ensure_future(namespace["work_for_ever"](process_job))
        async with asyncio.timeout(10):
            while len(done) < 2:
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.wait({working})
    assert done == [("42", "specific.a!b")] * 2


@pytest.mark.parametrize("fixture", ["in_memory_layer", "pubsub_layer", "queue_layer"])
async def test_sending_from_coroutines_and_from_code_without_a_loop(
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
        await asyncio.to_thread(namespace["job_failed"], 43)
    async with asyncio.timeout(10):
        texts = [(await layer.receive(channel))["text"] for _ in range(8)]
    assert texts == ["one", "two", *["job 42 is done", "job 43 has failed"] * 3]


@pytest.mark.parametrize("fixture", ["in_memory_layer", "pubsub_layer", "queue_layer"])
async def test_sending_to_several_groups_to_the_others_and_for_a_while(
    page: Page, channel_layers: ChannelLayerRegistry, request: pytest.FixtureRequest, fixture: str
) -> None:
    namespace = await page.run()
    layer: BaseChannelLayer = request.getfixturevalue(fixture)
    channel_layers.register("default", layer)
    both, guest = await layer.new_channel(), await layer.new_channel()
    for group, channel in (("staff", both), ("guests", both), ("guests", guest), ("room", both), ("room", guest)):
        await layer.group_add(group, channel)
    await namespace["announce"]("to all")
    await namespace["tell_the_others"](both, "to the guest")
    await namespace["ring"](both)
    assert [(await layer.receive(both))["type"] for _ in range(2)] == ["chat.message", "call.ringing"]
    assert [(await layer.receive(guest))["text"] for _ in range(2)] == ["to all", "to the guest"]


async def test_many_jobs_are_ordered_and_those_without_a_place_are_named(
    page: Page, channel_layers: ChannelLayerRegistry, queue_layer: RedisChannelLayer
) -> None:
    namespace = await page.run()
    channel_layers.register("jobs", queue_layer)
    assert await namespace["order_all"](list(range(queue_layer.capacity + 2))) == [100, 101]
    assert [(await queue_layer.receive("primes"))["job_id"] for _ in range(100)] == list(range(100))
    assert "no more than a thousand wait" in " ".join(page.text.split())
    assert pipelining.MOST == 1000


# Looking


SOURCES = {path: path.read_text() for path in (ROOT / "src").rglob("*.py")}


def found_in_sources(pattern: str) -> set[str]:
    return {found for source in SOURCES.values() for found in re.findall(pattern, source)}


def test_every_reason_for_which_messages_are_dropped_is_in_the_table() -> None:
    _, _, table = Page(NAME).text.partition("| `dropped` | means |")
    listed = set(re.findall(r"^\| `(\w+)` \|", table.partition("\n\n")[0], re.MULTILINE))
    assert listed == found_in_sources(r"[._](?:count_)?drop\(\"(\w+)\"")


def test_every_number_of_the_statistics_is_named() -> None:
    looking = Page(NAME).text.partition("## Looking")[2].partition("|")[0]
    assert set(re.findall(r"`(\w+)`", looking)) == {field.name for field in fields(LayerStatistics)}


def test_every_logger_is_named() -> None:
    [sentence] = re.findall(r"^The loggers are ([^.]*(?:\.\w[^.]*)*)\.", Page(NAME).text, re.MULTILINE)
    assert set(re.findall(r"`([\w.]+)`", sentence)) == found_in_sources(
        r"(?m)^logger = logging.getLogger\(\"([\w.]+)\"\)"
    )


async def test_a_consumer_without_its_layer_refuses(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    from fast_channels.consumer import AsyncWebsocketConsumer

    class Lost(AsyncWebsocketConsumer):
        channel_layer_alias = "xyz"

    with pytest.raises(InvalidChannelLayerError, match="Channel layer 'xyz' not registered"):
        await WebsocketCommunicator(Lost.as_asgi(), "/").connect()
