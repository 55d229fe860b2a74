"""A forked child has nothing of its parent: what the parent ends, ends on the server, however long the child lives."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from tests.support.tls import Authority
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

LAYERS = {"RedisPubSubChannelLayer": RedisPubSubChannelLayer, "RedisChannelLayer": RedisChannelLayer}

each_layer = pytest.mark.parametrize("kind", LAYERS)

each_way = pytest.mark.parametrize("way", ["asyncio", "uvloop", "sync"])

PARENT = """
import asyncio, os, sys
import uvloop
from fast_channels.layers import redis

url, kind, prefix, way, leash = sys.argv[1:]
layer = getattr(redis, kind)([url], prefix=prefix)

def fork():
    if not os.fork():
        os.write(1, b"forked\\n")
        os.closerange(0, 2)  # else who reads what the parent says would not see its end
        os.read(int(leash), 1)  # until the test is over
        os._exit(0)

def parent():
    sync = layer.sync
    channel = sync.new_channel()
    sync.group_add("room", channel)
    print(channel, flush=True)
    fork()
    for command in map(str.strip, sys.stdin):
        print(sync.receive(channel)["n"] if command == "receive" else sync.close(), flush=True)

async def parent_with_a_loop():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    print(channel, flush=True)
    fork()
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print((await layer.receive(channel))["n"] if command == "receive" else await layer.close(), flush=True)

if way == "sync":
    parent()
else:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if way == "uvloop" else asyncio.new_event_loop) as runner:
        runner.run(parent_with_a_loop())
"""


class Parent:
    """A process with a channel in the group `room`, and a child of it that lives as long as the test."""

    def __init__(self, process: "subprocess.Popen[str]", admin: Redis, prefix: str) -> None:
        self.process = process
        self.prefix = prefix
        self.channel = self._said()
        self._admin = admin
        assert self._said() == "forked"
        assert self.connections()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._said()

    def connections(self) -> list[str]:
        """What the server still has of it: its connections, which have the prefix for a name, and its subscriptions."""
        clients = [client["id"] for client in self._admin.client_list() if client["name"] == self.prefix]
        subscriptions: list[Any] = self._admin.pubsub_channels(f"{self.prefix}|*")
        return [*clients, *subscriptions]


@contextmanager
def parent(url: str, admin: Redis, kind: str, way: str) -> Iterator[Parent]:
    prefix = f"forks-{uuid4().hex[:12]}"
    named = f"{url}{'&' if '?' in url else '?'}client_name={prefix}"
    with ExitStack() as ends:
        leash, end = os.pipe()
        ends.callback(os.close, end)  # then the child ends; the kernel does it if this process is killed
        command = [sys.executable, "-c", PARENT, named, kind, prefix, way, str(leash)]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[leash]
            )
        finally:
            os.close(leash)
        ends.enter_context(process)
        ends.callback(process.kill)
        yield Parent(process, admin, prefix)


def kill(process: Parent) -> None:
    process.process.kill()


def close(process: Parent) -> None:
    assert process.ask("close") == "None"


@each_layer
@each_way
@pytest.mark.parametrize("end", [kill, close])
async def test_what_its_parent_ends_a_child_does_not_keep(
    redis_url: str, admin: Redis, kind: str, way: str, end: Callable[[Parent], None]
) -> None:
    with parent(redis_url, admin, kind, way) as process:
        end(process)
        await until(lambda: not process.connections(), "a child keeps its parent's connections")


@pytest.mark.tls
@each_way
async def test_over_tls_as_well(tmp_path: Path, way: str) -> None:
    authority = Authority(tmp_path)
    with (
        authority.server("localhost") as server,
        Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as admin,
    ):
        url = f"rediss://localhost:{server.port}?ssl_ca_certs={authority.file}"
        with parent(url, admin, "RedisPubSubChannelLayer", way) as process:
            kill(process)
            await until(lambda: not process.connections(), "a child keeps its parent's connections")


@each_layer
@each_way
async def test_a_parent_goes_on_hearing(redis_url: str, admin: Redis, kind: str, way: str) -> None:
    with parent(redis_url, admin, kind, way) as process:
        before = process.connections()
        async with LAYERS[kind](hosts=[redis_url], prefix=process.prefix) as layer:
            for number in range(10):
                await layer.send(process.channel, {"n": 2 * number})
                await layer.group_send("room", {"n": 2 * number + 1})
                assert process.ask("receive") == str(2 * number)
                assert process.ask("receive") == str(2 * number + 1)
            assert layer.statistics().dropped == {}
        assert set(before) <= set(process.connections()), "it goes on with the connections that it had"
