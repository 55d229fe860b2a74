"""Both layers over all nodes of a Cluster."""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from fast_channels import names
from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.clusters import ClusterOfServers, slot_of
from tests.support.descriptors import open_sockets
from tests.support.waiting import PATIENCE, until

KINDS: list[type[Any]] = [RedisChannelLayer, RedisPubSubChannelLayer]

both_layers = pytest.mark.parametrize("kind", KINDS)

Make = Callable[..., Any]


@pytest.fixture
async def make(cluster: ClusterOfServers) -> AsyncIterator[Make]:
    """Makes layers on the Cluster that hear each other and no other test; closed in the end."""
    prefix = f"test-{uuid4().hex[:12]}"
    layers: list[BaseChannelLayer] = []

    def make(kind: type[Any] = RedisChannelLayer, **options: Any) -> Any:
        layer = kind(**{"hosts": [cluster.url], "prefix": prefix, "cluster": True, **options})
        layers.append(layer)
        return layer

    yield make
    for layer in layers:
        await layer.close()


def inbox_slot(layer: Any, channel: str) -> int:
    client = names.client_of(channel)
    if isinstance(layer, RedisChannelLayer):
        return slot_of(QueueKeys(layer.prefix).inbox(client).meta)
    return slot_of(Addresses(layer.prefix).inbox(client))


def group_slot(layer: Any, group: str) -> int:
    keys = QueueKeys(layer.prefix) if isinstance(layer, RedisChannelLayer) else Addresses(layer.prefix)
    return slot_of(keys.group(group))


def name_at(cluster: ClusterOfServers, layer: Any, node: ServerProcess) -> str:
    """The name of a group that a node has."""
    groups = (f"room{number}" for number in range(1000))
    return next(group for group in groups if cluster.owner_of(group_slot(layer, group)) is node)


async def member_at(cluster: ClusterOfServers, make: Make, node: ServerProcess, group: str) -> tuple[Any, str]:
    """A layer whose inbox a node has, and a channel of it that is in a group."""
    while True:
        layer = make()
        channel = await layer.new_channel()
        if cluster.owner_of(inbox_slot(layer, channel)) is node:
            await layer.group_add(group, channel)
            return layer, channel
        await layer.close()


# Groups


async def test_a_node_that_stands_still_delays_no_member_elsewhere(cluster: ClusterOfServers, make: Make) -> None:
    still, first, second = cluster.nodes
    sender = make()
    group = name_at(cluster, sender, first)
    members = [await member_at(cluster, make, node, group) for node in (still, first, second)]
    await sender.group_send(group, {"n": 1})
    for layer, channel in members:
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"n": 1}
    still.pause()
    try:
        began = time.monotonic()
        sending = asyncio.create_task(sender.group_send(group, {"n": 2}))
        for layer, channel in members[1:]:
            assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"n": 2}
        assert time.monotonic() - began < 5
        assert not sending.done()
    finally:
        still.resume()
    await asyncio.wait_for(sending, PATIENCE)
    layer, channel = members[0]
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"n": 2}


async def test_a_node_that_stands_still_delays_no_other_group(cluster: ClusterOfServers, make: Make) -> None:
    layer = make(RedisPubSubChannelLayer)
    groups = [name_at(cluster, layer, node) for node in cluster.nodes]
    channel = await layer.new_channel()
    for group in groups:
        await layer.group_add(group, channel)
        await layer.group_send(group, group)
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == group
    cluster.nodes[0].pause()
    try:
        sending = asyncio.create_task(layer.group_send(groups[0], "late"))
        for group in groups[1:]:
            await layer.group_send(group, group)
            assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == group
        assert not sending.done()
    finally:
        cluster.nodes[0].resume()
    await asyncio.wait_for(sending, PATIENCE)
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == "late"


# Looking at all nodes


async def test_what_is_at_any_node_is_seen_and_emptied(make: Make) -> None:
    layer, other = make(), make()
    for number in range(12):
        await layer.send(f"jobs{number}", {"n": number})
    channel = await layer.new_channel()
    for number in range(12):
        await layer.group_add(f"room{number}", channel)
    seen = await other.inspect()
    assert {name: seen["channels"][f"jobs{name}"]["depth"] for name in range(12)} == dict.fromkeys(range(12), 1)
    assert set(seen["groups"]) == {f"room{number}" for number in range(12)}
    assert len(seen["servers"]) == 3
    await other.flush()
    seen = await other.inspect()
    assert (seen["channels"], seen["groups"]) == ({}, {})


async def test_a_slot_that_moves_while_all_is_looked_at_disturbs_nobody(cluster: ClusterOfServers, make: Make) -> None:
    layer = make()
    for number in range(40):
        await layer.send(f"jobs{number}", {"n": number})
    seen: list[int] = []

    async def look() -> None:
        while not ending:
            seen.append(len((await layer.inspect())["channels"]))

    ending = False
    looking = asyncio.create_task(look())
    for number in range(6):
        slot = slot_of(QueueKeys(layer.prefix).shared(f"jobs{number}").ready)
        await asyncio.to_thread(cluster.move_slot, slot, cluster.other_master(cluster.owner_of(slot)))
    ending = True
    await looking
    assert len(seen) > 1
    assert (await layer.inspect())["channels"].keys() == {f"jobs{number}" for number in range(40)}


async def test_dead_letters_of_any_node_are_found(make: Make) -> None:
    layer = make(max_deliveries=1)
    for number in range(6):
        await layer.send(f"jobs{number}", {"n": number})
        with pytest.raises(RuntimeError):
            async with layer.delivery(f"jobs{number}"):
                raise RuntimeError("no")
    assert await layer.dead_letters.channels() == {f"jobs{number}": 1 for number in range(6)}
    assert await layer.dead_letters.send_again("jobs3") == 1
    assert await layer.receive("jobs3") == {"n": 3}


async def test_subscribers_at_any_node_are_seen(make: Make) -> None:
    layer = make(RedisPubSubChannelLayer)
    channel = await layer.new_channel()
    for number in range(12):
        await layer.group_add(f"room{number}", channel)
    servers = (await layer.inspect())["servers"]
    assert len(servers) == 3
    assert all(server["subscribers"] for server in servers)
    assert sum(len(server["subscribers"]) for server in servers) == 13


async def test_a_flush_reaches_no_other_prefix(make: Make) -> None:
    layer = make()
    other = make(prefix=f"{layer.prefix}2")
    for number in range(12):
        await layer.send(f"jobs{number}", {"n": number})
        await other.send(f"jobs{number}", {"n": number})
    await layer.flush()
    assert (await layer.inspect())["channels"] == {}
    assert len((await other.inspect())["channels"]) == 12
    await other.flush()


# Nodes that are given


@both_layers
async def test_some_of_the_nodes_that_are_given_may_be_away(
    cluster: ClusterOfServers, make: Make, kind: type[Any]
) -> None:
    layer = make(kind, hosts=[f"redis://127.0.0.1:{free_port()}", cluster.url])
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}


@both_layers
async def test_if_all_are_away_that_is_said_in_time(make: Make, kind: type[Any]) -> None:
    port = free_port()
    layer = make(kind, hosts=[f"redis://127.0.0.1:{port}"], send_timeout=0.3)
    for attempt in (layer.send("jobs", {}), layer.group_send("room", {}), layer.new_channel(), layer.inspect()):
        with pytest.raises(ServerUnreachable, match=f"127.0.0.1:{port}"):
            await asyncio.wait_for(attempt, 5)


# The end


@both_layers
async def test_a_layer_that_is_closed_leaves_no_connection_and_no_task(make: Make, kind: type[Any]) -> None:
    gc.collect()
    before = open_sockets()
    layer = make(kind)
    channel = await layer.new_channel()
    for number in range(6):
        await layer.group_add(f"room{number}", channel)
        await layer.group_send(f"room{number}", {"n": number})
        assert await layer.receive(channel) == {"n": number}
    assert open_sockets() >= before + 3
    await layer.close()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert open_sockets() == before
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}, "it opens again"


@both_layers
def test_loop_after_loop_leaves_no_connection(cluster: ClusterOfServers, kind: type[Any]) -> None:
    layer = kind([cluster.url], prefix=uuid4().hex, cluster=True)

    async def use() -> None:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"n": 1})
        assert await layer.receive(channel) == {"n": 1}

    asyncio.run(use())
    gc.collect()
    before = open_sockets()
    for _ in range(5):
        asyncio.run(use())
    gc.collect()
    assert open_sockets() <= before
    asyncio.run(layer.close())


@both_layers
def test_a_program_that_ends_without_a_word_says_nothing(cluster: ClusterOfServers, kind: type[Any]) -> None:
    code = f"""
import asyncio
from fast_channels.layers.redis import {kind.__name__} as Layer

layer = Layer([{cluster.url!r}], cluster=True)

async def main():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {{"n": 1}})
    print(await layer.receive(channel))

asyncio.run(main())
"""
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert (done.stdout.strip(), [line for line in done.stderr.splitlines() if "cannot keep" not in line]) == (
        "{'n': 1}",
        [],
    )


def test_a_loop_that_is_closed_while_a_cluster_is_away_leaves_no_complaint() -> None:
    code = f"""
import asyncio, gc
from fast_channels.layers.redis import RedisPubSubChannelLayer as Layer

layer = Layer(["redis://127.0.0.1:{free_port()}"], cluster=True)

async def use():
    waiting = [layer.send("jobs", {{}}), layer.new_channel(), layer.receive("jobs"), layer.group_send("room", {{}})]
    waiting = [asyncio.create_task(each) for each in waiting]
    await asyncio.sleep(0.3)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)

loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.close()
asyncio.run(layer.close())
del loop
gc.collect()
"""
    command = [sys.executable, "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert [line for line in done.stderr.splitlines() if "trying again" not in line] == []
