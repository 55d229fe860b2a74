"""Pub/sub on a Cluster whose nodes die, are restarted, and hand slots to each other."""

import asyncio
from collections.abc import Iterator

import pytest

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.cluster_subscriptions import ClusterSubscriptions
from fast_channels.layers.redis.keys import Addresses
from tests.faults.test_server import gaps_are_silent, lose_one
from tests.faults.traffic import GROUP, Traffic
from tests.support.clusters import QUICK, ClusterOfServers, slot_of
from tests.support.servers import KINDS, server_binary
from tests.support.waiting import PATIENCE, until

__all__ = ["gaps_are_silent"]

ADDRESSES = Addresses("asgi")


@pytest.fixture
def six(request: pytest.FixtureRequest) -> Iterator[ClusterOfServers]:
    """Of Valkey 9, unless a test says otherwise."""
    binary = server_binary(getattr(request, "param", "valkey9"))
    with ClusterOfServers(3, 1, node_timeout=QUICK, binary=binary) as cluster:
        yield cluster


@pytest.fixture
def three(cluster: ClusterOfServers) -> ClusterOfServers:
    """The one that all tests share: slots that move do it no harm."""
    cluster.empty()
    return cluster


def traffic_on(cluster: ClusterOfServers, settle: float = PATIENCE) -> Traffic:
    return Traffic(cluster.nodes[1].url, cluster=True, settle=settle)


def slots(traffic: Traffic) -> tuple[int, int]:
    """Of the group, and of the inbox of the channel."""
    return slot_of(ADDRESSES.group(GROUP)), slot_of(ADDRESSES.inbox(traffic.hearing.client_prefix))


async def flowing(traffic: Traffic, timeout: float = PATIENCE) -> None:
    """Wait until both senders are heard."""
    counts = {name: len(traffic.listener.numbers(sender)) for name, sender in traffic.senders.items()}

    def heard() -> bool:
        return all(len(traffic.listener.numbers(traffic.senders[name])) > count + 20 for name, count in counts.items())

    await until(heard, "both senders are heard", timeout)


# A node is killed


async def kill_each_owner(cluster: ClusterOfServers, traffic: Traffic, timeout: float = 10.0) -> None:
    """Kill the node of the group, then that of the inbox: each comes back as a replica."""
    for slot in slots(traffic):
        node = cluster.owner_of(slot)
        await asyncio.to_thread(node.kill)
        await flowing(traffic, timeout)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(cluster.wait_until_sound)


@pytest.mark.faults
@pytest.mark.parametrize("six", KINDS, indirect=True)
async def test_a_node_that_is_killed_is_replaced_and_the_gap_is_reported(six: ClusterOfServers) -> None:
    async with traffic_on(six) as traffic:
        await kill_each_owner(six, traffic)
        gap = traffic.hearing.last_gap
    assert traffic.broken() == []
    assert traffic.listener.count("gap") >= 2
    assert gap is not None
    assert gap.reason == "their slots have moved"
    assert 0 < gap.seconds < 10


async def lose_some(cluster: ClusterOfServers, traffic: Traffic) -> None:
    """The same, but something is lost for certain: mostly, the listener is back before a sender is."""
    for slot in slots(traffic):
        await lose_one(cluster.owner_of(slot), traffic)


@pytest.mark.faults
@pytest.mark.usefixtures("gaps_are_silent")
async def test_twin_without_reports_the_loss_is_silent(six: ClusterOfServers) -> None:
    async with traffic_on(six) as traffic:
        await kill_each_owner(six, traffic)
        await lose_some(six, traffic)
    assert traffic.listener.count("gap") == 0
    assert any("missing without a word" in complaint for complaint in traffic.broken())


# All nodes are restarted


async def restart_each(cluster: ClusterOfServers, traffic: Traffic) -> None:
    for node in cluster.nodes:
        await asyncio.to_thread(node.restart)
        await asyncio.to_thread(cluster.wait_until_sound)
        await flowing(traffic, 10)


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_all_nodes_are_restarted_one_after_another(six: ClusterOfServers) -> None:
    async with traffic_on(six) as traffic:
        await restart_each(six, traffic)
    assert traffic.broken() == []
    assert traffic.listener.count("gap") > 0


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("gaps_are_silent")
async def test_twin_all_nodes_are_restarted_and_the_loss_is_silent(six: ClusterOfServers) -> None:
    async with traffic_on(six) as traffic:
        await restart_each(six, traffic)
        await lose_some(six, traffic)
    assert traffic.listener.count("gap") == 0
    assert any("missing without a word" in complaint for complaint in traffic.broken())


# A slot is moved


async def move_each(cluster: ClusterOfServers, traffic: Traffic, timeout: float = PATIENCE) -> None:
    for slot in slots(traffic):
        for _ in range(3):
            to = cluster.other_master(cluster.owner_of(slot))
            await asyncio.to_thread(cluster.move_slot, slot, to)
            await flowing(traffic, timeout)


async def test_slots_that_move_under_load_are_gaps_at_most(three: ClusterOfServers) -> None:
    async with traffic_on(three) as traffic:
        await move_each(three, traffic)
    assert traffic.broken() == []
    assert traffic.listener.count("gap") >= 6
    assert traffic.outcomes()["unknown"] == traffic.outcomes()["unreachable"] == 0


async def test_twin_a_subscription_that_stays_where_it_was_hears_nothing(
    three: ClusterOfServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traffic_on(three, settle=1) as traffic:
        monkeypatch.setattr(ClusterSubscriptions, "_go_along", lambda self, addresses: None)
        with pytest.raises(AssertionError, match="both senders are heard"):
            await move_each(three, traffic, timeout=2)
    assert any("never reported as over" in complaint for complaint in traffic.broken())


async def test_a_moved_slot_takes_its_subscription_along_on_a_layer_without_callbacks(three: ClusterOfServers) -> None:
    """The layer itself knows of the gap, whoever listens to it."""
    async with RedisPubSubChannelLayer([three.url], cluster=True) as layer:
        channel = await layer.new_channel()
        slot = slot_of(ADDRESSES.inbox(layer.client_prefix))
        await asyncio.to_thread(three.move_slot, slot, three.other_master(three.owner_of(slot)))
        await until(lambda: layer.last_gap)
        await layer.send(channel, {"n": 1})
        assert await layer.receive(channel) == {"n": 1}
