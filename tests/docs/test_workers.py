"""The guide to workers does what it says: its shop runs, with the commands that it prints."""

import asyncio
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.worker import run_worker
from tests.docs.pages import Page
from tests.support.waiting import until

NAME = "docs/guide/workers.md"


@pytest.fixture
async def page(open_page: Callable[[str], Page], redis_url: str, channel_layers: ChannelLayerRegistry) -> Page:
    """The page after its code has run, with an empty queue."""
    page = open_page(NAME)
    await page.run()
    await channel_layers["default"].flush()
    return page


def commands(page: Page) -> list[list[str]]:
    """The lines of its shell blocks, in their order."""
    shell = [block.code for block in page.blocks if block.language == "sh"]
    return [shlex.split(line, comments=True) for code in shell for line in code.splitlines()]


async def start(command: list[str]) -> "asyncio.subprocess.Process":
    assert command[0] == "fast-channels"
    arguments = [sys.executable, "-W", "error", "-m", "fast_channels", *command[1:]]
    return await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


async def output(command: list[str], **replaced: str) -> str:
    process = await start([replaced.get(word, word) for word in command])
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@asynccontextmanager
async def running(command: list[str]) -> AsyncIterator[asyncio.StreamReader]:
    """The output of a worker, which is stopped afterwards."""
    process = await start(command)
    assert process.stdout is not None
    try:
        yield process.stdout
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(text: str, lines: asyncio.StreamReader) -> str:
    seen = ""
    async with asyncio.timeout(30):
        while text not in (line := (await lines.readline()).decode()):
            assert line, seen
            seen += line
    return line


async def test_the_workers_handle_what_the_page_sends(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    both, mails = [command for command in commands(page) if command[:2] == ["fast-channels", "worker"]]
    layer = channel_layers["default"]
    async with running(both) as lines:
        assert "channels thumbnails, mails; 1 at a time of each; <RedisChannelLayer 'shop'" in await line_with(
            "worker started", lines
        )
        await layer.send("thumbnails", {"type": "thumbnail.generate", "picture": 7})
        await line_with("thumbnail of picture 7", lines)
    async with running(mails) as lines:
        assert "channels mails; 20 at a time of each" in await line_with("worker started", lines)
        await layer.send("mails", {"type": "mail.send", "to": "ann@example.com"})
        await line_with("mail to ann@example.com", lines)


async def test_the_commands_for_dead_letters(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    layer: Any = channel_layers["default"]
    await kill(layer, "thumbnails", {"type": "thumbnail.generate", "picture": 1}, count=2)
    how_many, those, show, again, drop = [command for command in commands(page) if command[1:2] == ["dead-letters"]]
    assert re.search(r"thumbnails +2", await output(how_many))
    first, second = [letter.id for letter in await layer.dead_letters.list("thumbnails")]
    assert first in await output(those)
    assert "TimeoutError: too slow" in await output(show, ID=first)
    assert await output(again, ID=first) == "1 dead letter sent to thumbnails again.\n"
    assert (await layer.receive("thumbnails"))["picture"] == 1
    assert await output(drop, ID=second) == "1 dead letter dropped.\n"
    assert not await layer.dead_letters.channels()


async def test_dead_letters_in_python(page: Page, channel_layers: ChannelLayerRegistry) -> None:
    layer: Any = channel_layers["default"]
    await kill(layer, "thumbnails", {"type": "thumbnail.generate", "picture": 1}, count=1)
    await page.namespace["send_again_what_timed_out"](layer)
    assert (await layer.receive("thumbnails"))["picture"] == 1


async def kill(layer: Any, channel: str, message: dict[str, Any], count: int) -> None:
    """Make dead letters."""
    for _ in range(count):
        await layer.send(channel, message)
    async with asyncio.timeout(30):
        while (await layer.dead_letters.channels()).get(channel) != count:
            with pytest.raises(TimeoutError, match="too slow"):
                async with layer.delivery(channel):
                    raise TimeoutError("too slow")


async def test_a_worker_beside_an_application(page: Page, channel_layers: ChannelLayerRegistry, capsys: Any) -> None:
    app = page.namespace["app"]
    printed = ""
    async with app.router.lifespan_context(app):
        await channel_layers["default"].send("mails", {"type": "mail.send", "to": "bob"})
        async with asyncio.timeout(30):
            while "mail to bob" not in printed:
                printed += capsys.readouterr().out
                await asyncio.sleep(0.01)
    assert not [task for task in asyncio.all_tasks() if "worker" in task.get_name()]


async def test_a_second_time_does_no_harm_and_tests_need_no_server(page: Page) -> None:
    consumer = page.namespace["PaymentConsumer"]
    await page.namespace["handle_what_waits"](consumer, "invoices", 2 * [{"type": "invoice.pay", "invoice": 5}])
    assert consumer.paid == {5}


async def test_the_lines_of_the_log_are_those_of_the_page(
    page: Page, caplog: pytest.LogCaptureFixture, in_memory_layer: InMemoryChannelLayer
) -> None:
    caplog.set_level(logging.INFO, "fast_channels.worker")
    done = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] == "thumbnail.generate":
            await asyncio.Event().wait()
        await done.wait()

    await in_memory_layer.send("thumbnails", {"type": "thumbnail.generate"})
    await in_memory_layer.send("mails", {"type": "mail.send"})
    worker = asyncio.ensure_future(run_worker(application, ["thumbnails", "mails"], layer=in_memory_layer, grace=0.05))
    await until(lambda: "started" in caplog.text and not in_memory_layer.channels)
    worker.cancel()
    await until(lambda: "stopping" in caplog.text)
    done.set()
    await asyncio.wait({worker})
    [block] = [block.code for block in page.blocks if block.language == "text"]
    written = [line.partition("fast_channels.worker: ")[2] for line in block.splitlines()]
    logged = [record.getMessage() for record in caplog.records]
    assert [shape(line) for line in logged] == [shape(line) for line in written]


def shape(line: str) -> str:
    """`line` without what differs from worker to worker."""
    one = re.sub(r"\b(handler|message|failure)s\b", r"\1", re.sub(r"<.*>", "<layer>", line))
    return re.sub(r"[\d.]+", "0", one).replace("SIGTERM", "cancelled")
