"""What is made to go wrong is said in the words that the page on troubleshooting quotes."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from fast_channels.exceptions import ChannelFull, OutcomeUnknown, ServerUnreachable
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import Page

NAME = "docs/troubleshooting.md"
MESSAGE = {"type": "chat.message", "text": "hello"}

EXTRA = "the Redis layers need a package that is missing (redis): pip install"  # tests/test_package.py provokes it


def as_pattern(text: str) -> str:
    """What `text` stands for: names, numbers and addresses are examples."""
    text = re.escape(text.partition(": ")[2] if re.match(r"[A-Z]\w+: ", text) else text)
    for example in ("…", r"redis://…", "xyz", "chat", "room"):
        text = text.replace(re.escape(example), ".+")
    for end in ("reached", r"is\ back"):
        text = text.replace(end, rf"{end}(?: for \w+)?")  # pub/sub has a connection for each of two purposes
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

    layer = RedisPubSubChannelLayer(hosts=[server.url], prefix="chat", send_timeout=2)
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


PROVOKED = [
    "Channel layer 'xyz' not registered",
    "ServerUnreachable: redis://… cannot be reached",
    "OutcomeUnknown: the connection to redis://… broke before it answered",
    "ChannelFull: channel '…' is full",
    "the Redis layers need a package that is missing",
    "redis://… cannot keep what the queue promises: it keeps nothing on disk",
    "the connection to redis://… is lost: …; connecting again",
    "redis://… cannot be reached: …; trying again",
    "redis://… is back after 0.22 s",
    "layer chat heard nothing from redis://… for 5.28 s",
    "redis://… had lost inbox …: made again, with 12 groups",
    "2 of 10 channels over capacity in group room",
    "a message of channel jobs is a dead letter after 5 deliveries (max_deliveries): ValueError: no such user",
]
"""The headings of the page whose messages are made to come; of the others, the source is asked."""


async def test_every_message_that_is_quoted_is_what_is_said(
    channel_layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fast_channels")
    with ServerProcess() as server:
        said = await provoke(server, channel_layers)
    said += [record.getMessage() for record in caplog.records]
    said.append(EXTRA)
    headings = re.findall(r"^### `(.+)`$", Page(NAME).text, re.MULTILINE)
    for text in PROVOKED:
        assert text in headings
        assert any(re.match(as_pattern(text), line) for line in said), (as_pattern(text), said)


async def test_the_gap_is_reported_to_the_callback(
    open_page: Callable[[str], Page], capsys: pytest.CaptureFixture[str], redis_server: ServerProcess
) -> None:
    namespace = await open_page(NAME).run()
    layer: Any = namespace["layer"]
    async with layer:
        await layer.new_channel()
        redis_server.restart()
        async with asyncio.timeout(10):
            while "heard nothing" not in capsys.readouterr().out:
                await asyncio.sleep(0.01)
