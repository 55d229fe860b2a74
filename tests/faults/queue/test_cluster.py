"""The queue on a Cluster whose nodes die, are restarted, and hand slots to each other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fast_channels import names
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.redis import cluster_links, stream_inbox
from fast_channels.layers.redis.config import Host
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.failover import Failover
from tests.faults.queue.scene import Scene, eventually
from tests.support.clusters import QUICK, ClusterOfServers, slot_of
from tests.support.servers import KINDS, server_binary

KEYS = QueueKeys("asgi")
GROUP = "room"

WAITING = 20
"""Messages that wait while all nodes are restarted."""


class OnACluster(Scene):
    """A scene whose layers know that their server is a node of a Cluster."""

    def layer(self, url: Host = "", **options: Any) -> BaseChannelLayer:
        return super().layer(url, cluster=True, **options)


@pytest.fixture
def six(request: pytest.FixtureRequest) -> Iterator[ClusterOfServers]:
    """Of Valkey 9, unless a test says otherwise."""
    binary = server_binary(getattr(request, "param", "valkey9"))
    with ClusterOfServers(3, 1, node_timeout=QUICK, config={"appendonly": "yes"}, binary=binary) as cluster:
        yield cluster


@pytest.fixture
def unwritten() -> Iterator[ClusterOfServers]:
    """Nothing of it is on a disk."""
    with ClusterOfServers(3, 1, node_timeout=QUICK) as cluster:
        yield cluster


@pytest.fixture
def forgetful() -> Iterator[ClusterOfServers]:
    with ClusterOfServers(3, node_timeout=QUICK) as cluster:
        yield cluster


@pytest.fixture
def three(cluster: ClusterOfServers) -> ClusterOfServers:
    """The one that all tests share: slots that move do it no harm."""
    cluster.empty()
    return cluster


@pytest.fixture
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """On whichever Cluster the test has."""
    [of_the_test] = {"six", "unwritten", "forgetful", "three"}.intersection(request.fixturenames)
    cluster: ClusterOfServers = request.getfixturevalue(of_the_test)
    async with OnACluster(cluster.nodes[1].url, tmp_path) as scene:
        yield scene


@asynccontextmanager
async def load(scene: Scene) -> AsyncIterator[str]:
    """Senders to a shared channel, to one that somebody owns, and to its group; the owned channel."""
    scene.work()
    owned = await scene.own("o", GROUP)
    scene.members = {GROUP: [owned]}
    senders = [scene.sender(f"to {to}") for to in ("jobs", "owned", "group")]
    async with AsyncExitStack() as loads:
        await loads.enter_async_context(senders[0].load("jobs"))
        await loads.enter_async_context(senders[1].load(owned))
        await loads.enter_async_context(senders[2].load(GROUP, group=True))
        await flowing(scene, owned)
        yield owned


async def flowing(scene: Scene, owned: str) -> float:
    """Wait until messages that are sent from now on are handled, and return how long that took."""
    before = {channel: scene.ledger.count("end", channel=channel) for channel in ("jobs", owned)}
    return await eventually(
        lambda: all(scene.ledger.count("end", channel=channel) > count + 50 for channel, count in before.items()),
        "messages are handled again",
    )


def slots(owned: str) -> dict[str, int]:
    """Where what the load needs is."""
    return {
        "the inbox": slot_of(KEYS.inbox(names.client_of(owned)).meta),
        "the shared channel": slot_of(KEYS.shared("jobs").ready),
        "the group": slot_of(KEYS.group(GROUP)),
        "the leases": slot_of(KEYS.leases()[0]),
    }


# A node is killed


async def kill_owner(cluster: ClusterOfServers, scene: Scene, owned: str, what: str, failover: Failover) -> float:
    """Kill the node that has something; how long nothing was handled. Then it is there again."""
    node = cluster.owner_of(slots(owned)[what])
    await failover.kill(asyncio.to_thread(cluster.replicated, node), node.kill)
    outage = await flowing(scene, owned)
    await asyncio.to_thread(node.start)
    return outage


@pytest.mark.faults
@pytest.mark.parametrize("six", KINDS, indirect=True)
@pytest.mark.parametrize("what", ["the inbox", "the shared channel", "the group"])
async def test_a_node_that_is_killed_is_replaced_and_what_its_replica_has_is_handled_once(
    six: ClusterOfServers, scene: Scene, what: str
) -> None:
    failover = Failover(scene)
    async with load(scene) as owned:
        outage = await kill_owner(six, scene, owned, what, failover)
        await flowing(scene, owned)
    await scene.all_handled(failover.may_be_lost)
    assert failover.broken() == []
    assert outage < 10


async def outrun_the_replica(cluster: ClusterOfServers, scene: Scene, messages: int = 5, **options: Any) -> None:
    """Messages reach a node that has no replica for the moment; then it dies, and the replica takes over."""
    node = cluster.owner_of(slot_of(KEYS.shared("later").ready))
    replica = cluster.replica_of(node)
    sender, layer = scene.sender(url=replica.url, **options), scene.layer(replica.url)
    await scene.send(sender, messages, "later")
    await asyncio.to_thread(cluster.replicated, node)
    replica.pause()
    await asyncio.to_thread(cluster.ask, node, "CLIENT", "KILL", "TYPE", "replica")
    await scene.send(sender, messages, "later")
    await asyncio.to_thread(node.kill)
    replica.resume()
    await eventually(lambda: cluster.is_master(replica))
    scene.work("later", "later", layer=layer)


@pytest.mark.faults
async def test_twin_what_no_replica_has_is_lost_with_its_node(six: ClusterOfServers, scene: Scene) -> None:
    scene.settle = 3.0
    await outrun_the_replica(six, scene)
    await scene.all_handled()
    verdict = scene.judge()
    assert verdict.acknowledged == 10
    assert len(verdict.missing) == 5


@pytest.mark.faults
async def test_what_a_replica_has_confirmed_is_never_lost(six: ClusterOfServers, scene: Scene) -> None:
    await outrun_the_replica(six, scene, 2, durability="replicated", send_timeout=1)
    await scene.all_handled()
    assert scene.ledger.count("acknowledged") == scene.ledger.count("unknown") == 2
    assert scene.judge().once_in_order() == []


# All nodes are restarted


async def restart_each(cluster: ClusterOfServers, scene: Scene, *, hand_over: bool = False) -> None:
    """Restart all nodes under load, while messages wait for somebody who comes afterwards.

    `hand_over`: each gives its slots to the other one of its shard before.
    """
    await scene.send(scene.sender("early"), WAITING, "later")
    async with load(scene) as owned:
        for place, node in enumerate(cluster.nodes):
            if hand_over and cluster.is_master(node):
                await asyncio.to_thread(cluster.fail_over, cluster.nodes[place - len(cluster.nodes) // 2])
                await asyncio.to_thread(cluster.wait_until_sound)
            await asyncio.to_thread(node.restart)
            await asyncio.to_thread(cluster.wait_until_sound)
            assert await flowing(scene, owned) < 10
    scene.work("later", "later")
    await scene.all_handled()


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_all_nodes_are_restarted_one_after_another(six: ClusterOfServers, scene: Scene) -> None:
    await restart_each(six, scene)
    assert scene.ledger.count("end", channel="later") == WAITING
    assert scene.judge().once_in_order() == []


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_nodes_that_hand_over_before_they_are_restarted_need_no_disk(
    unwritten: ClusterOfServers, scene: Scene
) -> None:
    await restart_each(unwritten, scene, hand_over=True)
    assert scene.ledger.count("end", channel="later") == WAITING
    assert scene.judge().once_in_order() == []


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_twin_nodes_that_keep_nothing_lose_what_waits(forgetful: ClusterOfServers, scene: Scene) -> None:
    """They have no file and nobody to hand over to: whatever they have is gone when they are restarted."""
    scene.settle = 2.0
    await restart_each(forgetful, scene)
    verdict = scene.judge()
    assert {key for key in verdict.missing if key[0] == "later"} == {
        ("later", "early", number) for number in range(1, WAITING + 1)
    }
    assert any("is lost" in complaint for complaint in verdict.broken())


# A slot is moved


async def move_slowly(cluster: ClusterOfServers, slot: int, to: ServerProcess) -> None:
    """Let a slot be on its way for a while, its keys on both sides."""
    owner = await asyncio.to_thread(cluster.begin_move, slot, to)
    while await asyncio.to_thread(cluster.move_keys, slot, owner, to, 1):
        await asyncio.sleep(0.02)
    await asyncio.to_thread(cluster.end_move, slot, owner, to)


async def move_everything(cluster: ClusterOfServers, scene: Scene, owned: str) -> None:
    """Move each slot that the load needs, at once and slowly."""
    for slot in slots(owned).values():
        owner = cluster.owner_of(slot)
        other = cluster.other_master(owner)
        await asyncio.to_thread(cluster.move_slot, slot, other)
        await flowing(scene, owned)
        await move_slowly(cluster, slot, owner)
        await flowing(scene, owned)


async def test_slots_that_move_as_a_whole_lose_nothing(three: ClusterOfServers, scene: Scene) -> None:
    if "migrateslots" not in str(three.ask(three.nodes[0], "CLUSTER", "HELP")).lower():
        pytest.skip("the server moves slots key by key")
    async with load(scene) as owned:
        for slot in slots(owned).values():
            to = three.other_master(three.owner_of(slot))
            await asyncio.to_thread(three.move_slot_whole, slot, to)
            await flowing(scene, owned)
    await scene.all_handled()
    assert scene.judge().once_in_order() == []
    assert scene.ledger.count("unknown", "unreachable", "refused") == 0


async def test_slots_that_move_under_load_lose_nothing(three: ClusterOfServers, scene: Scene) -> None:
    async with load(scene) as owned:
        await move_everything(three, scene, owned)
    await scene.all_handled()
    assert scene.judge().once_in_order() == []
    assert scene.ledger.count("unknown", "unreachable", "refused") == 0


async def test_twin_a_reader_that_asks_the_same_node_for_ever_hears_nothing_more(
    three: ClusterOfServers, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_inbox, "ELSEWHERE", "nothing of the kind")
    scene.settle = 2.0
    async with load(scene) as owned:
        slot = slots(owned)["the inbox"]
        await asyncio.to_thread(three.move_slot, slot, three.other_master(three.owner_of(slot)))
        await asyncio.sleep(0.5)
    await scene.all_handled()
    assert any("lost" in complaint for complaint in scene.judge().broken())


async def test_twin_a_sender_that_follows_nothing_is_refused(
    three: ClusterOfServers, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.settle = 2.0
    async with load(scene) as owned:
        monkeypatch.setattr(cluster_links.SlotLink, "send_elsewhere", lambda self, command, error: False)
        slot = slots(owned)["the inbox"]
        await asyncio.to_thread(three.move_slot, slot, three.other_master(three.owner_of(slot)))
        await eventually(lambda: scene.ledger.count("refused"))
