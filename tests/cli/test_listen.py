"""`fast-channels listen`, as a process, on real servers."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.cli.commands import call, end_of, running, until_said
from tests.support.waiting import PATIENCE

HEARS = "Ctrl-C ends it"


async def test_a_group_of_the_queue(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    member = await queue.new_channel()
    await queue.group_add("room", member)
    async with running(tmp_path, "listen", "room", "--group", "--count", "2", *server, says=HEARS) as process:
        await queue.group_send("room", {"type": "chat.message", "text": "hällo \x1b[2J", "raw": b"\0"})
        await queue.group_send("room", {"text": "no type"})
        done = await end_of(process)
    first, second = done.out.splitlines()
    time, kind, rest = first.split("  ")
    assert len(time) == len("12:00:00.000")
    assert (kind, rest) == ("chat.message", '{"text":"hällo \\u001b[2J","raw":"AA=="}')
    assert second.endswith('  -  {"text":"no type"}')
    assert done.code == 0
    assert (await queue.receive(member))["type"] == "chat.message"  # it gets what it would get
    assert (await queue.inspect())["groups"] == {"room": [member]}  # and the listener left


async def test_a_type_of_two_lines_is_one_entry(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    await queue.send("jobs", {"type": "a\n20:14:03.512  forged", "text": "b\nc"})
    done = await call(tmp_path, "listen", "jobs", "--take", "--count", "1", *server)
    assert done.code == 0
    [line] = done.out.splitlines()
    assert line.endswith(r"""a\n20:14:03.512  forged  {"text":"b\nc"}""")


async def test_a_group_of_pubsub_as_json(tmp_path: Path, pubsub: RedisPubSubChannelLayer, server: list[str]) -> None:
    options = ("--group", "--json", "--count", "1", "--pubsub", *server)
    async with running(tmp_path, "listen", "room", *options, says=HEARS) as process:
        await pubsub.group_send("room", {"type": "chat.message", "text": "hällo"})
        done = await end_of(process)
    assert done.code == 0
    assert json.loads(done.out) == {"type": "chat.message", "text": "hällo"}


async def test_a_channel_of_pubsub_takes_from_nobody(
    tmp_path: Path, pubsub: RedisPubSubChannelLayer, server: list[str]
) -> None:
    async with running(
        tmp_path, "listen", "news", "--count", "1", "--json", "--pubsub", *server, says=HEARS
    ) as process:
        other = asyncio.ensure_future(pubsub.receive("news"))
        async with asyncio.timeout(PATIENCE):
            while not other.done() or process.returncode is None:
                await pubsub.send("news", {"n": 1})
                await asyncio.sleep(0.02)
        assert (await end_of(process)).code == 0
    assert await other == {"n": 1}


async def test_a_channel_of_the_queue_is_not_listened_to_by_accident(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str]
) -> None:
    await queue.send("jobs", {"n": 1})
    done = await call(tmp_path, "listen", "jobs", *server)
    assert (done.code, done.out) == (2, "")
    assert done.error == (
        "each message of jobs goes to one receiver, so that your workers would not get what is printed here: see how "
        "many wait with fast-channels inspect, or take them with --take"
    )
    assert await queue.receive("jobs") == {"n": 1}


async def test_messages_are_taken_one_by_one(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    for n in range(3):
        await queue.send("jobs", {"n": n})
    done = await call(tmp_path, "listen", "jobs", "--take", "--count", "2", "--json", *server)
    assert (done.code, done.out) == (0, '{"n":0}\n{"n":1}\n')
    assert await queue.receive("jobs") == {"n": 2}


async def test_what_could_not_be_printed_is_given_back(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str]
) -> None:
    options = ("listen", "jobs", "--take", "--json", *server)
    async with running(tmp_path, *options, says=HEARS) as process:
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]  # as `| head` does
        await queue.send("jobs", {"n": 1})
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 1
        assert await process.stderr.read() == b""  # type: ignore[union-attr]
    async with asyncio.timeout(PATIENCE):
        assert await queue.receive("jobs") == {"n": 1}


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--timeout", "0.2"], 1, "0 messages came in 0.2 s: wait longer with --timeout"),
        (["--timeout", "0.2", "--count", "2"], 1, "0 of 2 messages came in 0.2 s: wait longer with --timeout"),
    ],
)
async def test_nothing_comes(tmp_path: Path, server: list[str], options: list[str], code: int, text: str) -> None:
    done = await call(tmp_path, "listen", "room", "--group", *options, *server)
    assert (done.code, done.out) == (code, "")
    assert done.err.endswith(f"fast-channels: {text}\n")


async def test_the_channel_of_another_process(tmp_path: Path, server: list[str]) -> None:
    done = await call(tmp_path, "listen", "specific.abc!def", *server)
    assert done.code == 2
    assert done.error.startswith("only the process that made channel specific.abc!def receives on it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_in_order(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str], number: signal.Signals
) -> None:
    async with running(tmp_path, "listen", "room", "--group", *server, says=HEARS) as process:
        process.send_signal(number)
        done = await end_of(process)
    assert (done.code, done.error) == (130, "interrupted")
    found = await queue.inspect()
    assert (found["groups"], found["inboxes"]) == ({}, {})


@pytest.mark.parametrize("name", [["jobs", "--take"], ["room", "--group"], ["room", "--group", "--pubsub"]])
async def test_an_outage_is_told(tmp_path: Path, name: list[str]) -> None:
    with ServerProcess() as server:
        async with running(tmp_path, "listen", *name, "--redis-url", server.url, says=HEARS) as process:
            for change, text in ((server.stop, "is lost"), (server.start, "is back for ")):
                await asyncio.to_thread(change)
                await until_said(process, text)
            process.send_signal(signal.SIGINT)
            done = await end_of(process)
    assert (done.code, done.out) == (130, "")


async def test_a_terminal_that_knows_few_characters_shows_all(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str]
) -> None:
    await queue.send("jobs", {"text": "hällo"})
    done = await call(tmp_path, "listen", "jobs", "--take", "--count", "1", *server, PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert done.out.endswith('-  {"text":"h\\xe4llo"}\n')


async def test_on_a_terminal_a_long_line_is_not_cut(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str]
) -> None:
    await queue.send("jobs", {"type": "long", "text": "x" * 300})
    here, there = pty.openpty()
    command = [sys.executable, "-m", "fast_channels", "listen", "jobs", "--take", "--count", "1", *server]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=there, stderr=subprocess.PIPE, cwd=tmp_path, env={**os.environ, "COLUMNS": "40"}
    )
    assert (await end_of(process)).code == 0
    os.close(there)
    printed = os.read(here, 10_000).decode()
    os.close(here)
    assert "x" * 300 in printed
    assert "\x1b[1mlong" in printed
