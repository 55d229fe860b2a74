"""The guide to channel layers does what it says: what its functions register, sends; what it quotes, is said."""

import ast
import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from fast_channels.exceptions import ChannelFull, InvalidChannelLayerError, OutcomeUnknown, ServerUnreachable
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)
from fast_channels.testing import WebsocketCommunicator
from fast_channels.testing.server import ServerProcess
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
        "presence": InMemoryChannelLayer,
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

    async with RedisChannelLayer(hosts=[server.url], max_deliveries=1) as queue:
        await lose_a_letter(queue)
        await lose_everything(queue, server)

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


async def lose_a_letter(queue: RedisChannelLayer) -> None:
    """A handler of the channel `jobs` fails too often."""
    await queue.send("jobs", MESSAGE)
    with pytest.raises(ValueError, match="user"):
        async with queue.delivery("jobs"):
            raise ValueError("no such user")


async def lose_everything(queue: RedisChannelLayer, server: ServerProcess) -> None:
    """The server forgets all there is, and a membership comes back."""
    channel = await queue.new_channel()
    await queue.group_add("room", channel)
    async with Redis.from_url(server.url) as admin:
        await admin.flushall()
    async with asyncio.timeout(20):
        while not (await queue.inspect())["groups"]:
            await asyncio.sleep(0.05)


def formats_of_the_log() -> Iterator[str]:
    """What the layers may log, as it stands in the source."""
    for path in (ROOT / "src/fast_channels/layers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                yield from (
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                )


PROVOKED_IN_THE_FAULTS = "channel jobs: 3 messages that dead workers", "a message of channel jobs was delivered again"


async def test_every_message_that_is_quoted_is_what_is_said(
    channel_layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fast_channels")
    with ServerProcess() as server:
        said = await provoke(server, channel_layers)
    said += [record.getMessage() for record in caplog.records]
    said.append(EXTRA)
    assert len(quoted(Page(NAME))) == 12
    for text in quoted(Page(NAME)):
        if text.startswith(PROVOKED_IN_THE_FAULTS):  # takes longer than a lease
            as_format = re.sub(r"\d+", "%d", text.replace("jobs", "%s"))
            assert any(line.startswith(as_format) for line in formats_of_the_log()), as_format
        else:
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
