"""Commands follow their slot: MOVED, ASK, TRYAGAIN, and nodes that are away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.cluster import Cluster
from fast_channels.layers.redis.cluster_links import SlotLink
from fast_channels.layers.redis.cluster_nodes import NodeLinks
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.servers import ServerEvents
from fast_channels.testing.server import ServerProcess, free_port
from tests.layers.redis.test_cluster import a_cluster
from tests.support.clusters import ClusterOfServers, slot_of
from tests.support.waiting import PATIENCE, until

LITTLE = Patience(send=1.0)


@pytest.fixture
def known(cluster: ClusterOfServers) -> Cluster:
    return a_cluster(cluster.url)


@pytest.fixture
async def nodes(known: Cluster) -> AsyncIterator[NodeLinks]:
    nodes = NodeLinks(known, Patience(), Counters(), ServerEvents())
    yield nodes
    await nodes.close()


@pytest.fixture
def key() -> str:
    """A key that no other test has, in braces, so that others may be made for the same slot."""
    return f"{{{uuid4().hex}}}"


@pytest.fixture
async def link(known: Cluster, nodes: NodeLinks, key: str) -> SlotLink:
    return SlotLink(known, slot_of(key), nodes, Patience())


@contextmanager
def on_its_way(cluster: ClusterOfServers, slot: int) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """A slot that is moved while the block runs; from where, and to where."""
    to = cluster.other_master(cluster.owner_of(slot))
    owner = cluster.begin_move(slot, to)
    try:
        yield owner, to
    finally:
        cluster.move_keys(slot, owner, to)
        cluster.end_move(slot, owner, to)


def errors(cluster: ClusterOfServers, kind: str) -> int:
    """How often the nodes have answered with an error of a kind."""
    stats = (cluster.ask(node, "INFO", "errorstats").get(f"errorstat_{kind}", {}) for node in cluster.nodes)
    return sum(stat.get("count", 0) for stat in stats)


async def test_the_first_command_finds_its_node(cluster: ClusterOfServers, link: SlotLink, key: str) -> None:
    moved = errors(cluster, "MOVED")
    assert await link.call("SET", key, "x") == b"OK"
    assert errors(cluster, "MOVED") == moved
    assert link.label == f"redis://127.0.0.1:{cluster.owner_of(slot_of(key)).port}/0"
    assert link.connection is not None


async def test_before_it_is_known_the_cluster_is_named(cluster: ClusterOfServers, link: SlotLink) -> None:
    assert link.label == f"cluster 127.0.0.1:{cluster.nodes[0].port}"
    assert link.connection is None
    assert link.trouble is None


# MOVED


async def test_a_command_that_is_sent_to_the_wrong_node_goes_to_the_right_one(
    cluster: ClusterOfServers, known: Cluster, link: SlotLink, key: str
) -> None:
    owner = cluster.owner_of(slot_of(key))
    known.moved(slot_of(key), ("127.0.0.1", cluster.other_master(owner).port))
    moved = errors(cluster, "MOVED")
    for _ in range(3):
        assert await link.call("SET", key, "x") == b"OK"
    assert errors(cluster, "MOVED") == moved + 1, "it is known from then on"


async def test_commands_keep_their_order_when_they_are_sent_on(
    cluster: ClusterOfServers, known: Cluster, link: SlotLink, key: str
) -> None:
    owner = cluster.owner_of(slot_of(key))
    replies: list[asyncio.Future[Any]] = []
    for _ in range(10):
        known.moved(slot_of(key), ("127.0.0.1", cluster.other_master(owner).port))
        for _ in range(10):
            replies.append(link.submit(packed("RPUSH", key, len(replies))))
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*replies)
    assert await link.call("LRANGE", key, 0, -1) == [b"%d" % number for number in range(100)]


async def test_a_slot_that_moves_while_commands_are_sent(cluster: ClusterOfServers, link: SlotLink, key: str) -> None:
    sent = 0

    async def send() -> None:
        nonlocal sent
        while not ending:
            await link.call("RPUSH", key, sent)
            sent += 1

    ending = False
    load = asyncio.create_task(send())
    for _ in range(4):
        to = cluster.other_master(cluster.owner_of(slot_of(key)))
        await asyncio.to_thread(cluster.move_slot, slot_of(key), to)
        await asyncio.sleep(0.02)
    ending = True
    await load
    assert sent > 10
    assert await link.call("LRANGE", key, 0, -1) == [b"%d" % number for number in range(sent)]


async def test_nodes_that_do_not_agree_are_not_asked_without_a_pause(
    cluster: ClusterOfServers, known: Cluster, nodes: NodeLinks, key: str
) -> None:
    """Each says that the other one has the slot."""
    slot = slot_of(key)
    owner = cluster.owner_of(slot)
    other = cluster.other_master(owner)
    link = SlotLink(known, slot, nodes, LITTLE)
    await link.call("GET", key)
    moved = errors(cluster, "MOVED")
    cluster.ask(owner, "CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(other))
    try:
        with pytest.raises((ServerRefused, ServerUnreachable)):
            await link.call("SET", key, "x")
        assert 2 < errors(cluster, "MOVED") - moved < 40
        pending = asyncio.create_task(SlotLink(known, slot, nodes, Patience()).call("SET", key, "y"))
        await asyncio.sleep(0.2)
    finally:
        cluster.ask(owner, "CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(owner))
    assert await asyncio.wait_for(pending, PATIENCE) == b"OK", "as soon as they agree"


# ASK and TRYAGAIN


async def test_what_has_moved_already_is_asked_for_where_it_is(
    cluster: ClusterOfServers, link: SlotLink, key: str
) -> None:
    await link.call("SET", key, "x")
    with on_its_way(cluster, slot_of(key)) as (owner, to):
        cluster.move_keys(slot_of(key), owner, to)
        assert await link.call("GET", key) == b"x"
        assert await link.call("SET", f"{key}new", "y") == b"OK"
        assert cluster.keys_in(slot_of(key), owner) == []
        assert link.label.endswith(f":{owner.port}/0"), "the slot is not there yet"
    assert await link.call("MGET", key, f"{key}new") == [b"x", b"y"]


async def test_what_is_on_both_sides_waits_until_it_has_moved(
    cluster: ClusterOfServers, link: SlotLink, key: str
) -> None:
    await link.call("MSET", f"{key}a", "1", f"{key}b", "2")
    with on_its_way(cluster, slot_of(key)) as (owner, to):
        cluster.move_keys(slot_of(key), owner, to, 1)
        tried = errors(cluster, "TRYAGAIN")
        both = asyncio.create_task(link.call("MGET", f"{key}a", f"{key}b"))
        await until(lambda: errors(cluster, "TRYAGAIN") > tried + 1)
        assert not both.done()
    assert await asyncio.wait_for(both, PATIENCE) == [b"1", b"2"]


async def test_what_is_on_its_way_for_too_long_is_refused(
    cluster: ClusterOfServers, known: Cluster, nodes: NodeLinks, key: str
) -> None:
    link = SlotLink(known, slot_of(key), nodes, Patience(send=0.3))
    await link.call("MSET", f"{key}a", "1", f"{key}b", "2")
    with on_its_way(cluster, slot_of(key)) as (owner, to):
        cluster.move_keys(slot_of(key), owner, to, 1)
        with pytest.raises((ServerRefused, ServerUnreachable)):
            await link.call("MGET", f"{key}a", f"{key}b")


# Refusals and cancellation


async def test_other_refusals_are_the_callers(link: SlotLink, key: str) -> None:
    await link.call("SET", key, "x")
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        await link.call("LPUSH", key, "x")
    with pytest.raises(ServerRefused, match="CROSSSLOT"):
        await link.call("MGET", key, f"{key[1:]} in another slot")


async def test_who_gives_up_is_not_served_and_the_others_are(
    cluster: ClusterOfServers, known: Cluster, link: SlotLink, key: str
) -> None:
    first = asyncio.create_task(link.call("RPUSH", key, "first"))
    second = asyncio.create_task(link.call("RPUSH", key, "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert await link.call("LRANGE", key, 0, -1) == [b"second"]


# Nodes that are away


async def test_a_node_that_is_not_there_is_not_insisted_on(
    cluster: ClusterOfServers, known: Cluster, link: SlotLink, key: str
) -> None:
    known.moved(slot_of(key), ("127.0.0.1", free_port()))
    began = asyncio.get_running_loop().time()
    assert await link.call("SET", key, "x") == b"OK"
    assert asyncio.get_running_loop().time() - began < 5


@pytest.fixture
async def lost() -> AsyncIterator[SlotLink]:
    """To a Cluster that is not there."""
    known = a_cluster(f"redis://127.0.0.1:{free_port()}")
    nodes = NodeLinks(known, LITTLE, Counters(), ServerEvents())
    link = SlotLink(known, 0, nodes, Patience(send=0.3, commands=3))
    yield link
    link.close()
    await nodes.close()


async def test_a_cluster_that_is_not_there_is_waited_for_and_then_named(lost: SlotLink) -> None:
    with pytest.raises(ServerUnreachable, match=r"cluster .* cannot be reached .* says who has which slot"):
        await lost.call("GET", "a")
    assert lost.trouble is not None


async def test_no_more_than_was_allowed_waits(lost: SlotLink) -> None:
    waiting = [lost.submit(b"x") for _ in range(3)]
    with pytest.raises(ServerUnreachable, match="3 commands wait for it already"):
        await lost.submit(b"x")
    waiting[0].cancel()
    waiting.append(lost.submit(b"x"))
    for each in waiting[1:]:
        with pytest.raises(ServerUnreachable):
            await each


async def test_what_waits_when_it_is_closed_fails_at_once(lost: SlotLink) -> None:
    waiting = lost.submit(b"x")
    await asyncio.sleep(0)
    lost.close()
    with pytest.raises(ServerUnreachable, match="the layer was closed"):
        await waiting


async def test_a_connection_that_breaks_leaves_the_outcome_unknown(
    cluster: ClusterOfServers, link: SlotLink, key: str
) -> None:
    await link.call("SET", key, "x")
    popping = asyncio.create_task(link.call("BLPOP", f"{key}list", 0))
    owner = cluster.owner_of(slot_of(key))
    await until(lambda: cluster.ask(owner, "INFO", "clients")["blocked_clients"])
    cluster.ask(owner, "CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(popping, PATIENCE)
    assert await link.call("GET", key) == b"x", "the next one is sent over another connection"
