"""The page about code without a loop does what it says: its programs run, and print what they should."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fast_channels.layers import RedisChannelLayer
from tests.docs.pages import Page
from tests.support.waiting import PATIENCE

NAME = "docs/guide/sync.md"


@pytest.fixture
async def layer(open_page: Callable[[str], Page], redis_url: str) -> RedisChannelLayer:
    """What another process would have, with an empty queue."""
    open_page(NAME)
    layer = RedisChannelLayer([redis_url], prefix="chat")
    await layer.flush()
    return layer


def start(name: str) -> "subprocess.Popen[str]":
    """One of the page's programs, from the folder that the page's files are in."""
    command = [sys.executable, "-W", "error", "-m", name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd())


def output(program: "subprocess.Popen[str]") -> str:
    out, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, errors
    return out


async def test_what_is_announced_arrives(layer: RedisChannelLayer) -> None:
    async with layer, asyncio.timeout(PATIENCE):
        channel = await layer.new_channel()
        await layer.group_add("lobby", channel)
        assert output(await asyncio.to_thread(start, "chat.announce")) == "announced\n"
        assert (await layer.receive(channel))["text"] == "We close at six"
        assert (await layer.receive("mails"))["to"] == "ann@example.com"
        assert [(await layer.receive("thumbnails"))["picture"] for _ in range(100)] == list(range(100))


async def test_a_question_is_answered(layer: RedisChannelLayer) -> None:
    async with layer:
        answering, asking = start("chat.answer"), start("chat.ask")
        assert await asyncio.to_thread(output, asking) == "42\n"
        assert await asyncio.to_thread(output, answering) == ""


async def test_threads_share_it(layer: RedisChannelLayer) -> None:
    async with layer:
        assert await asyncio.to_thread(output, start("chat.threads")) == "90\n"
        numbers = [(await layer.receive("numbers"))["number"] for _ in range(90)]
        assert sorted(numbers) == list(range(90))


async def test_inside_a_loop_it_names_the_call_to_await(layer: RedisChannelLayer) -> None:
    async with layer:
        printed = await asyncio.to_thread(output, start("chat.inside"))
    assert "use await layer.send(…) there" in printed
