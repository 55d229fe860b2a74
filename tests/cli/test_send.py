"""`fast-channels send` and `group-send`, as processes, on real servers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.cli.commands import call, end_of, process_of

EXAMPLE = """write something like '{"type": "chat.message"}'"""


@pytest.fixture
async def queue(redis_url: str, prefix: str) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer(hosts=[redis_url], prefix=prefix, capacity=3) as layer:
        yield layer
        await layer.flush()


async def test_a_message_to_a_channel(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    done = await call(tmp_path, "send", "jobs", '{"type": "job.do", "number": 1}', *server)
    assert done == (0, "1 message sent to jobs.\n", "")
    assert await queue.receive("jobs") == {"type": "job.do", "number": 1}


async def test_a_message_to_a_group(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    ann, bob = [await queue.new_channel() for _ in range(2)]
    for group, channel in (("room", ann), ("hall", bob), ("room", bob)):
        await queue.group_add(group, channel)
    done = await call(tmp_path, "group-send", "room,hall", '{"number": 1}', "--exclude", ann, "--json", *server)
    assert (done.code, json.loads(done.out), done.err) == (0, {"sent": 1}, "")
    await call(tmp_path, "group-send", "room", '{"number": 2}', "--expiry", "30", *server)
    assert [await queue.receive(bob), await queue.receive(bob)] == [{"number": 1}, {"number": 2}]
    assert await queue.receive(ann) == {"number": 2}


async def test_lines_of_stdin(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    done = await call(tmp_path, "send", "jobs", "-", *server, stdin=b'{"number": 1}\n\n{"number": 2}')
    assert done == (0, "2 messages sent to jobs.\n", "")
    assert [await queue.receive("jobs") for _ in range(2)] == [{"number": 1}, {"number": 2}]


async def test_a_line_is_sent_as_soon_as_it_comes(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    process = await process_of(tmp_path, "send", "jobs", "-", *server, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b'{"number": 1}\n')
    assert await queue.receive("jobs") == {"number": 1}
    process.send_signal(signal.SIGINT)  # the pipe is open still
    done = await end_of(process)
    assert (done.code, done.error) == (130, "interrupted")


async def test_a_bad_line_says_which_and_what_was_sent_before(
    tmp_path: Path, queue: RedisChannelLayer, server: list[str]
) -> None:
    done = await call(tmp_path, "send", "jobs", "-", *server, stdin=b'{"number": 1}\n[2]\n{"number": 3}\n')
    assert (done.code, done.out) == (2, "")
    assert done.error == f"line 2 of stdin is no JSON object: {EXAMPLE} (1 sent before it)"
    assert (await queue.inspect())["channels"]["jobs"]["depth"] == 1


async def test_a_full_channel(tmp_path: Path, redis_url: str, prefix: str, queue: RedisChannelLayer) -> None:
    (tmp_path / "layers.py").write_text(
        "from fast_channels.layers import register_channel_layer\n"
        "from fast_channels.layers.redis import RedisChannelLayer\n"
        f"register_channel_layer('default', RedisChannelLayer([{redis_url!r}], {prefix!r}, capacity=1))\n"
    )
    done = await call(tmp_path, "send", "jobs", "-", "--layers", "layers", stdin=b"{}\n{}\n")
    assert done.code == 1
    assert done.error == (
        "channel 'jobs' is full: 1 messages wait for its receiver (line 2 of stdin; 1 sent before it)"
        "; its receivers do not keep up: see fast-channels inspect"
    )
    done = await call(tmp_path, "send", "jobs", "{}", "--layers", "layers")
    assert done.error.endswith("; its receivers do not keep up: see fast-channels inspect")


@pytest.mark.parametrize("message", ["{}", "-"])
async def test_a_server_that_refuses_says_what_to_do(tmp_path: Path, message: str) -> None:
    with ServerProcess({"requirepass": "canary"}) as closed:
        done = await call(
            tmp_path, "send", "jobs", message, REDIS_URL=f"redis://localhost:{closed.port}", stdin=b"{}\n"
        )
    assert (done.code, done.out) == (1, "")
    assert done.error.endswith("; put a user and a password into its URL")


async def test_closed_stdin(tmp_path: Path, server: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "fast_channels", "send", "jobs", "-", *server),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    done = await end_of(process)
    assert done.code == 2
    assert done.error == "stdin is closed: pipe messages into this command, or write MESSAGE instead of -"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["send", "jobs", '{"a": '], "MESSAGE is no JSON (Input data was truncated): "),
        (["send", "jobs", "[1]"], "MESSAGE is no JSON object: "),
        (
            ["send", "jobs", '{"a":' * 2000 + "1" + "}" * 2000],
            "MESSAGE is no JSON that can be read (too many levels): ",
        ),
        (["send", "the jobs", "{}"], "Channel name must be a valid"),
        (["group-send", "a room", "{}"], "Group name must be a valid"),
        (["group-send", "room", "{}", "--exclude", "a room"], "Channel name must be a valid"),
        (["send", "jobs", "{}", "--expiry", "0"], "Invalid value for '--expiry'"),
    ],
)
async def test_what_is_no_message_is_a_mistake(
    tmp_path: Path, server: list[str], arguments: list[str], text: str
) -> None:
    done = await call(tmp_path, *arguments, *server)
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith(text)


async def test_on_pubsub_nobody_may_be_there(
    tmp_path: Path, pubsub: RedisPubSubChannelLayer, server: list[str]
) -> None:
    done = await call(tmp_path, "send", "news", "{}", "--pubsub", *server)
    assert (done.code, done.out) == (1, "0 messages sent to news.\n")
    assert done.error == "1 of 1 lost, because nobody receives on news: start what receives there"
    channel = await pubsub.new_channel()
    assert await call(tmp_path, "send", channel, '{"n": 1}', "--pubsub", *server) == (
        0,
        f"1 message sent to {channel}.\n",
        "",
    )
    assert await pubsub.receive(channel) == {"n": 1}


async def test_a_channel_that_is_gone(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> None:
    channel = await queue.new_channel()
    await queue.close()
    done = await call(tmp_path, "send", channel, "{}", *server)
    assert done.code == 1
    assert done.error.startswith(f"1 of 1 lost, because nobody receives on {channel}")


# Where it leads nowhere, for every command


EVERY = [["send", "jobs", "{}"], ["group-send", "room", "{}"], ["listen", "room", "--group"], ["inspect"]]

MEMORY = "from fast_channels.layers import *\nregister_channel_layer('default', InMemoryChannelLayer())\n"


@pytest.mark.parametrize("arguments", EVERY, ids=lambda arguments: arguments[0])
async def test_another_process_does_not_reach_what_is_in_memory(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "layers.py").write_text(MEMORY)
    done = await call(tmp_path, *arguments, "--layers", "layers")
    assert done.code == 2
    assert done.error == (
        "layer 'default' is in-memory: it is within the process of the application, and no other process reaches it; "
        "choose a layer on a server with --layer"
    )


@pytest.mark.parametrize("arguments", EVERY, ids=lambda arguments: arguments[0])
async def test_an_alias_that_is_not_registered(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "layers.py").write_text(MEMORY)
    done = await call(tmp_path, *arguments, "--layers", "layers", "--layer", "chat")
    assert done.code == 2
    assert done.error == "Channel layer 'chat' not registered (registered: 'default'): choose one with --layer"


@pytest.mark.parametrize("arguments", EVERY[1:3], ids=lambda arguments: arguments[0])
async def test_a_server_that_is_not_there(tmp_path: Path, arguments: list[str]) -> None:
    done = await call(tmp_path, *arguments, REDIS_URL="redis://:canary-in-url@localhost:1")
    assert (done.code, done.out) == (1, "")
    assert done.error.startswith("redis://localhost:1/0 cannot be reached (waited 5.0 s): ")
    assert done.error.endswith("; is it running, and is the address right?")
    assert "canary" not in done.err


async def test_no_layer_at_all(tmp_path: Path) -> None:
    done = await call(tmp_path, "send", "jobs", "{}")
    assert done.code == 2
    assert done.error.startswith("no layer is registered: name what does it (--layers MODULE:FUNCTION), or a server")


async def test_what_nobody_expected_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(
        "from fast_channels.layers import BaseChannelLayer, register_channel_layer\n"
        "class Broken(BaseChannelLayer):\n"
        "    async def send(self, channel, message):\n"
        "        raise ZeroDivisionError('in a layer')\n"
        "register_channel_layer('default', Broken())\n"
    )
    done = await call(tmp_path, "send", "jobs", "{}", "--layers", "layers")
    assert done.code == 1
    assert done.error.startswith("ZeroDivisionError: in a layer (")
    assert done.error.endswith("layers.py, line 4): FAST_CHANNELS_TRACEBACK=1 shows where it comes from")
    shown = await call(tmp_path, "send", "jobs", "{}", "--layers", "layers", FAST_CHANNELS_TRACEBACK="1")
    assert "Traceback" in shown.err


async def test_nothing_waits_for_what_is_read_ahead() -> None:
    from fast_channels.cli import lines

    read, write = os.pipe()
    os.write(write, b"1\n2\n")
    found = lines.lines_of(read)
    assert [await anext(found), await anext(found)] == ["1", "2"]
    os.close(write)
    assert [line async for line in found] == []
