"""Subscriptions are where their slots are, and go along."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest

from fast_channels.exceptions import ServerRefused, ServerUnreachable
from fast_channels.layers.redis.cluster import Cluster
from fast_channels.layers.redis.cluster_subscriptions import ClusterSubscriptions
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Gap
from fast_channels.testing.server import ServerProcess, free_port
from tests.layers.redis.test_cluster import a_cluster
from tests.support.clusters import ClusterOfServers, slot_of
from tests.support.descriptors import open_sockets
from tests.support.loops import both_loops
from tests.support.waiting import PATIENCE, until


class Ear:
    """Subscriptions of one loop, and all that is heard of them."""

    def __init__(self, known: Cluster, patience: Patience | None = None) -> None:
        self.heard: list[bytes] = []
        self.down = 0
        self.gaps: list[Gap] = []
        self.subscriptions = ClusterSubscriptions(known, patience or Patience(), self._is_down, self.gaps.append)

    def _is_down(self) -> None:
        self.down += 1

    async def listen(self, address: bytes) -> None:
        await self.subscriptions.subscribe(address, self.heard.append)


@pytest.fixture
def known(cluster: ClusterOfServers) -> Cluster:
    return a_cluster(cluster.url)


@pytest.fixture
async def ear(known: Cluster) -> AsyncIterator[Ear]:
    ear = Ear(known)
    yield ear
    await ear.subscriptions.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def address() -> bytes:
    return f"asgi|g|{uuid4().hex}".encode()


Publish = Callable[[bytes, bytes], int]


@pytest.fixture
def publish(cluster: ClusterOfServers) -> Publish:
    """Publish where the slot of an address is; how many subscribers heard it."""
    return lambda address, payload: int(cluster.ask(cluster.owner_of(slot_of(address)), "SPUBLISH", address, payload))


def move(cluster: ClusterOfServers, address: bytes) -> ServerProcess:
    to = cluster.other_master(cluster.owner_of(slot_of(address)))
    cluster.move_slot(slot_of(address), to)
    return to


@both_loops
async def test_what_is_published_at_any_node_is_heard(ear: Ear, publish: Publish) -> None:
    addresses = [f"room {number}".encode() for number in range(20)]
    await asyncio.gather(*map(ear.listen, addresses))
    assert [publish(address, address) for address in addresses] == [1] * 20
    await until(lambda: len(ear.heard) == 20)
    assert sorted(ear.heard) == sorted(addresses)
    assert repr(ear.subscriptions) == "<ClusterSubscriptions: 20 at 3 nodes>"
    assert (ear.down, ear.gaps) == (0, [])


async def test_many_addresses_of_many_slots_are_restored_by_one_command_for_each_slot(
    cluster: ClusterOfServers, ear: Ear, publish: Publish
) -> None:
    addresses = [f"{{{number % 7}}} {number}".encode() for number in range(70)]
    await asyncio.gather(*map(ear.listen, addresses))
    for node in cluster.nodes:
        cluster.ask(node, "CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: ear.down and len(ear.gaps) == ear.down)
    assert sum(gap.addresses for gap in ear.gaps) == 70
    assert [publish(address, b"x") for address in addresses] == [1] * 70


async def test_who_unsubscribes_hears_no_more(ear: Ear, address: bytes, publish: Publish) -> None:
    await ear.listen(address)
    ear.subscriptions.unsubscribe(address)
    await until(lambda: publish(address, b"x") == 0)
    assert len(ear.subscriptions) == 0


# The slot moves


async def test_a_subscription_goes_along_with_its_slot(
    cluster: ClusterOfServers, ear: Ear, address: bytes, publish: Publish
) -> None:
    await ear.listen(address)
    await asyncio.to_thread(move, cluster, address)
    await until(lambda: ear.gaps)
    assert publish(address, b"x") == 1
    await until(lambda: ear.heard == [b"x"])
    assert ear.down == len(ear.gaps) == 1
    gap = ear.gaps[0]
    assert (gap.addresses, gap.reason) == (1, "their slots have moved")
    assert 0 <= gap.seconds < PATIENCE


async def test_there_and_back_again(cluster: ClusterOfServers, ear: Ear, address: bytes, publish: Publish) -> None:
    await ear.listen(address)
    for _ in range(5):
        await asyncio.to_thread(move, cluster, address)
    await until(lambda: publish(address, b"x") == 1)
    await until(lambda: ear.down == len(ear.gaps) > 0)


async def test_a_node_that_is_not_needed_any_more_is_let_go(
    cluster: ClusterOfServers, ear: Ear, address: bytes
) -> None:
    await ear.listen(address)
    before = open_sockets()
    await asyncio.to_thread(move, cluster, address)
    await until(lambda: ear.gaps)
    await until(lambda: open_sockets() <= before)
    assert repr(ear.subscriptions) == "<ClusterSubscriptions: 1 at 1 nodes>"


async def test_a_map_that_is_old_makes_no_gap(
    cluster: ClusterOfServers, known: Cluster, ear: Ear, address: bytes, publish: Publish
) -> None:
    other = cluster.other_master(cluster.owner_of(slot_of(address)))
    await known.learn()
    known.moved(slot_of(address), ("127.0.0.1", other.port))
    await ear.listen(address)
    assert publish(address, b"x") == 1
    assert (ear.down, ear.gaps) == (0, [])


async def test_nodes_that_do_not_agree_are_asked_now_and_then(
    cluster: ClusterOfServers, ear: Ear, address: bytes, publish: Publish
) -> None:
    """The node that has the slot says that another one has it, which knows better."""
    await ear.listen(address)
    slot = slot_of(address)
    owner = cluster.owner_of(slot)
    other = cluster.other_master(owner)
    for node in cluster.nodes:
        cluster.ask(node, "CONFIG", "RESETSTAT")
    cluster.ask(owner, "CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(other))
    try:
        await until(lambda: ear.down)
        await asyncio.sleep(1.2)  # the time in which it would ask far more often
        asked = sum(_calls(cluster, node, "ssubscribe") for node in cluster.nodes)
        assert 2 <= asked < 30
        assert ear.gaps == []
    finally:
        cluster.ask(owner, "CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(owner))
    await until(lambda: len(ear.gaps) == ear.down == 1)
    assert publish(address, b"x") == 1


def _calls(cluster: ClusterOfServers, node: ServerProcess, command: str) -> int:
    stats = cluster.ask(node, "INFO", "commandstats").get(f"cmdstat_{command}", {})
    return int(stats.get("calls", 0) + stats.get("rejected_calls", 0))


# Nodes that are away


async def test_a_node_that_is_not_there_is_not_insisted_on(
    cluster: ClusterOfServers, known: Cluster, ear: Ear, address: bytes, publish: Publish
) -> None:
    await known.learn()
    known.moved(slot_of(address), ("127.0.0.1", free_port()))
    await asyncio.wait_for(ear.listen(address), 5)
    assert publish(address, b"x") == 1
    assert (ear.down, ear.gaps) == (0, [])


async def test_a_connection_that_breaks_is_a_gap(
    cluster: ClusterOfServers, ear: Ear, address: bytes, publish: Publish
) -> None:
    await ear.listen(address)
    cluster.ask(cluster.owner_of(slot_of(address)), "CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: ear.gaps)
    assert publish(address, b"x") == 1
    assert ear.down == len(ear.gaps) == 1


async def test_what_is_wanted_without_waiting_is_there_when_there_is_a_node(
    ear: Ear, address: bytes, publish: Publish
) -> None:
    ear.subscriptions.want(address, ear.heard.append)
    await until(lambda: publish(address, b"x") == 1)
    assert (ear.down, ear.gaps) == (0, [])


@pytest.fixture
async def deaf() -> AsyncIterator[Ear]:
    """On a Cluster that is not there."""
    ear = Ear(a_cluster(f"redis://127.0.0.1:{free_port()}"), Patience(send=0.3))
    yield ear
    await ear.subscriptions.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cluster_that_is_not_there_is_waited_for_and_then_named(deaf: Ear, address: bytes) -> None:
    reason = r"no node of the cluster|nobody has its slot"
    with pytest.raises(ServerUnreachable, match=rf"^cluster .* cannot be reached .*: ({reason})"):
        await deaf.listen(address)


async def test_who_waits_when_it_is_closed_is_told(address: bytes) -> None:
    ear = Ear(a_cluster(f"redis://127.0.0.1:{free_port()}"))
    listening = asyncio.create_task(ear.listen(address))
    await asyncio.sleep(0)
    await ear.subscriptions.close()
    with pytest.raises(ServerUnreachable, match="the layer was closed"):
        await listening


async def test_who_waits_for_what_nobody_wants_any_more_is_told(address: bytes) -> None:
    ear = Ear(a_cluster(f"redis://127.0.0.1:{free_port()}"))
    listening = asyncio.create_task(ear.listen(address))
    await asyncio.sleep(0)
    ear.subscriptions.unsubscribe(address)
    await asyncio.wait_for(listening, PATIENCE)
    await ear.subscriptions.close()


# Cancelled, refused


async def test_a_wait_that_is_cancelled_may_be_begun_again(ear: Ear, address: bytes, publish: Publish) -> None:
    first = asyncio.create_task(ear.listen(address))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    await ear.listen(address)
    assert publish(address, b"x") == 1


async def test_programs_that_cancel_every_task_end_no_subscription_for_long(
    cluster: ClusterOfServers, ear: Ear, address: bytes, publish: Publish
) -> None:
    await ear.listen(address)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await until(lambda: publish(address, b"x") == 0)
    await ear.listen(address)
    await until(lambda: publish(address, b"x") == 1)


async def test_what_a_user_may_not_hear_is_refused_and_may_be_asked_for_again(
    cluster: ClusterOfServers, address: bytes, publish: Publish
) -> None:
    for node in cluster.nodes:
        cluster.ask(node, "ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels")
    try:
        ear = Ear(a_cluster(cluster.url.replace("//", "//deaf:secret@")))
        with pytest.raises(ServerRefused, match="NOPERM"):
            await ear.listen(address)
        assert len(ear.subscriptions) == 0
        for node in cluster.nodes:
            cluster.ask(node, "ACL", "SETUSER", "deaf", "&asgi|*")
        await ear.listen(address)
        assert publish(address, b"x") == 1
        await ear.subscriptions.close()
    finally:
        for node in cluster.nodes:
            cluster.ask(node, "ACL", "DELUSER", "deaf")
