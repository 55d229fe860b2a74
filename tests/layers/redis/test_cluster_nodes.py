"""The links to nodes: opened when they are needed, closed when the nodes are no masters any more."""

import asyncio
import gc

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis import cluster_nodes
from fast_channels.layers.redis.cluster import Cluster
from fast_channels.layers.redis.cluster_nodes import NodeLinks
from fast_channels.layers.redis.link import Link, Patience
from fast_channels.layers.redis.servers import ServerEvents
from fast_channels.testing.server import free_port
from tests.layers.redis.test_cluster import a_cluster
from tests.support.clusters import QUICK, ClusterOfServers
from tests.support.descriptors import open_sockets
from tests.support.waiting import until


class Told:
    """What whoever uses the nodes is told."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.back = 0
        self.events = ServerEvents(on_first_use=lambda link: self.used.append(link.label), on_back=self._is_back)

    def _is_back(self) -> None:
        self.back += 1


@pytest.fixture
def told() -> Told:
    return Told()


def nodes_of(known: Cluster, told: Told, patience: Patience | None = None) -> NodeLinks:
    return NodeLinks(known, patience or Patience(), Counters(), told.events)


async def test_all_masters_are_reached(cluster: ClusterOfServers, told: Told) -> None:
    nodes = nodes_of(a_cluster(cluster.url), told)
    links = await nodes.all()
    assert sorted(link.label for link in links) == sorted(f"{url}/0" for url in cluster.urls)
    assert all(link.connection is not None for link in links)
    assert sorted(told.used) == sorted(link.label for link in links)
    assert await nodes.all() == links
    await nodes.close()


async def test_if_no_node_is_there_that_is_said(told: Told) -> None:
    nodes = nodes_of(a_cluster(f"redis://127.0.0.1:{free_port()}"), told)
    with pytest.raises(ServerUnreachable, match="no node of the cluster"):
        await nodes.all()
    assert len(nodes) == 0
    await nodes.close()


async def test_a_master_that_is_away_fails_for_itself(cluster: ClusterOfServers, told: Told) -> None:
    known = a_cluster(cluster.url)
    await known.learn()
    port = free_port()
    known._slots[0] = ("127.0.0.1", port)
    nodes = nodes_of(known, told, Patience(send=0.2))
    answers = await asyncio.gather(*(link.call("PING") for link in await nodes.all()), return_exceptions=True)
    assert answers.count(b"PONG") == 3
    with pytest.raises(ServerUnreachable, match=f"127.0.0.1:{port}/0 cannot be reached"):
        await nodes.to(("127.0.0.1", port)).call("PING")
    await nodes.close()


async def test_closing_ends_every_connection_and_task(cluster: ClusterOfServers, told: Told) -> None:
    before = open_sockets()
    nodes = nodes_of(a_cluster(cluster.url), told)
    await nodes.all()
    assert open_sockets() > before
    await nodes.close()
    await nodes.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert open_sockets() == before
    assert not nodes.is_open


def test_a_loop_that_is_closed_leaves_no_socket(cluster: ClusterOfServers, told: Told) -> None:
    before = open_sockets()
    loop = asyncio.new_event_loop()
    known = a_cluster(cluster.url)

    async def use() -> NodeLinks:
        nodes = nodes_of(known, told)
        await nodes.all()
        return nodes

    nodes = loop.run_until_complete(use())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert not nodes.is_open
    loop.close()
    nodes.abandon()
    gc.collect()
    assert open_sockets() == before


# Nodes that leave


@pytest.fixture
def quick_to_tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_nodes, "TIDY_AFTER", 0.05)


@pytest.mark.usefixtures("quick_to_tidy")
async def test_a_link_to_who_is_no_master_is_closed(cluster: ClusterOfServers, told: Told) -> None:
    known = a_cluster(cluster.url)
    await known.learn()
    nodes = nodes_of(known, told)
    stranger = nodes.to(("127.0.0.1", free_port()))
    waiting = stranger.submit(b"*1\r\n$4\r\nPING\r\n")
    master = nodes.to(("127.0.0.1", cluster.nodes[0].port))
    await master.call("PING")
    with pytest.raises(ServerUnreachable):
        await waiting
    await until(lambda: told.back)
    assert not stranger.is_started
    assert nodes.find(("127.0.0.1", cluster.nodes[0].port)) is master
    assert len(nodes) == told.back == 1
    await nodes.close()


@pytest.mark.usefixtures("quick_to_tidy")
async def test_a_link_to_a_node_that_gave_all_its_slots_away_is_closed_when_what_was_sent_is_answered(
    cluster: ClusterOfServers, told: Told
) -> None:
    known = a_cluster(cluster.url)
    await known.learn()
    node = ("127.0.0.1", cluster.nodes[2].port)
    known._slots = [("127.0.0.1", cluster.nodes[0].port) if has == node else has for has in known._slots]
    nodes = nodes_of(known, told)
    leaving = nodes.to(node)
    await asyncio.gather(*(leaving.call("PING") for _ in range(10)))
    await until(lambda: not leaving.is_started)
    assert len(nodes) == 0
    assert told.back == 0, "nothing failed there"
    await nodes.close()


@pytest.mark.usefixtures("quick_to_tidy")
async def test_a_master_that_changed_places_with_its_replica_is_let_go() -> None:
    told = Told()
    with ClusterOfServers(1, replicas=1, node_timeout=QUICK) as cluster:
        master, replica = cluster.nodes
        nodes = nodes_of(a_cluster(cluster.url), told, Patience(ping_every=0.1))
        before: list[Link] = await nodes.all()
        await asyncio.to_thread(cluster.fail_over, replica)
        await until(lambda: not before[0].is_started, "it would be refused for ever")
        assert nodes.find(("127.0.0.1", master.port)) is None
        after = await nodes.all()
        assert [link.label for link in after] == [f"{replica.url}/0"]
        await nodes.close()
    assert told.back >= 1
