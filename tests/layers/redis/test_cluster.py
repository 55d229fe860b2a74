"""Which node has which slot."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fast_channels.exceptions import NotAllSent, ServerRefused
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.cluster import SLOTS, Cluster, SlotEndpoint, read_map, redirection
from fast_channels.layers.redis.config import parse_hosts
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.clusters import ClusterOfServers
from tests.support.waiting import PATIENCE

ASKED = ("10.0.0.9", 7000)

EVER = 3600.0
"""Seconds that a send would wait: a test that waits for it fails."""


def a_cluster(*hosts: str) -> Cluster:
    servers = parse_hosts(hosts)
    return Cluster(servers)  # type: ignore[arg-type]  # no Sentinels among them


def ignore(*_: object) -> None:
    """Nobody wants to know."""


# What nodes answer


@pytest.mark.parametrize(
    ("answer", "ranges", "replicas"),
    [
        ([[0, 16383, [b"a", 7000, b"id", []]]], [(0, 16383, ("a", 7000))], []),
        (
            [[0, 99, [b"a", 1, b"id"], [b"b", 2, b"id"]], [100, 200, [b"c", 3, b"id"], [b"b", 2, b"id"]]],
            [(0, 99, ("a", 1)), (100, 200, ("c", 3))],
            [("b", 2)],
        ),
        ([[5, 5, [None, 7001, b"id"]]], [(5, 5, ("10.0.0.9", 7001))], []),
        ([[5, 5, [b"", 7001, b"id"], [b"", 7002, b"id"]]], [(5, 5, ("10.0.0.9", 7001))], [("10.0.0.9", 7002)]),
        ([[5, 5, [b"?", 7001, b"id"]]], [(5, 5, ("10.0.0.9", 7001))], []),
    ],
)
def test_the_map_is_read(answer: list[object], ranges: list[object], replicas: list[object]) -> None:
    assert read_map(answer, ASKED) == (ranges, replicas)


def test_a_node_that_knows_of_no_slots_says_nothing() -> None:
    with pytest.raises(ConnectionError, match=r"10\.0\.0\.9:7000 knows of no slots"):
        read_map([], ASKED)


@pytest.mark.parametrize(
    ("answer", "node"),
    [
        ("MOVED 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        ("ASK 3999 node.example:6381", ("node.example", 6381)),
        ("MOVED 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("10.0.0.9", 6381)),
    ],
)
def test_where_a_redirection_leads(answer: str, node: tuple[str, int]) -> None:
    assert redirection(answer, ASKED) == node


# What is given


@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
class TestRefused:
    def test_a_number_of_a_database(self, kind: type[RedisChannelLayer]) -> None:
        with pytest.raises(ValueError, match="a Cluster has one database: take the number out of the URL"):
            kind(["redis://localhost:7000/1"], cluster=True)

    def test_a_number_of_a_database_in_a_dict(self, kind: type[RedisChannelLayer]) -> None:
        with pytest.raises(ValueError, match="one database"):
            kind([{"host": "localhost", "port": 7000, "db": 2}], cluster=True)

    def test_a_unix_socket(self, kind: type[RedisChannelLayer]) -> None:
        with pytest.raises(ValueError, match="by host and port, not at a Unix socket"):
            kind(["unix:///run/redis.sock"], cluster=True)

    def test_sentinels(self, kind: type[RedisChannelLayer]) -> None:
        with pytest.raises(ValueError, match="a Cluster has no Sentinels"):
            kind(sentinels=[("localhost", 26379)], service_name="mymaster", cluster=True)

    def test_sentinels_among_the_hosts(self, kind: type[RedisChannelLayer]) -> None:
        sentinels = {"sentinels": [("localhost", 26379)], "master_name": "mymaster"}
        with pytest.raises(ValueError, match="a Cluster has no Sentinels"):
            kind(["redis://localhost:7000", sentinels], cluster=True)


def test_no_password_is_shown() -> None:
    layer = RedisChannelLayer(["redis://user:canary@localhost:7000"], cluster=True)
    assert "canary" not in repr(layer) + repr(layer._topology) + layer._topology.label


# Learning


async def test_any_node_tells_who_has_what(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.nodes[1].url)
    assert known.nodes == []
    assert known.node_of(0) is None
    await known.learn()
    assert known.nodes == sorted(("127.0.0.1", node.port) for node in cluster.nodes)
    assert all(known.node_of(slot) for slot in range(SLOTS))
    for key in (b"a", b"asgi|{g:room}|members"):
        assert known.node_of(known.slot_of(key)) == ("127.0.0.1", cluster.owner_of(known.slot_of(key)).port)


async def test_a_node_that_is_away_does_not_matter_if_another_is_there(cluster: ClusterOfServers) -> None:
    known = a_cluster(f"redis://127.0.0.1:{free_port()}", cluster.url)
    await known.learn()
    assert len(known.nodes) == 3


async def test_a_node_that_never_answers_does_not_matter_either(cluster: ClusterOfServers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        known = a_cluster(f"redis://127.0.0.1:{silent.getsockname()[1]}", cluster.url)
        async with asyncio.timeout(2):
            await known.learn()
    assert len(known.nodes) == 3


async def test_what_was_learned_a_moment_ago_is_not_asked_for_again(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    await known.learn()
    known._slots[0] = ("elsewhere", 1)
    await known.learn()
    assert known.node_of(0) == ("elsewhere", 1)
    known.doubt()
    await known.learn()
    assert known.node_of(0) == ("127.0.0.1", cluster.owner_of(0).port)


async def test_who_asks_at_the_same_time_asks_once(cluster: ClusterOfServers) -> None:
    before = cluster.ask(cluster.nodes[0], "INFO", "stats")["total_connections_received"]
    known = a_cluster(cluster.url)
    await asyncio.gather(*(known.learn() for _ in range(50)))
    after = cluster.ask(cluster.nodes[0], "INFO", "stats")["total_connections_received"]
    assert after - before == 2, "one to learn, one to count"


async def test_who_asks_may_give_up_and_the_others_are_told(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    first, second = asyncio.create_task(known.learn()), asyncio.create_task(known.learn())
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert len(known.nodes) == 3


def test_several_loops_learn_for_themselves(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(known.learn())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert len(known.nodes) == 3


# Nobody tells


async def test_if_no_node_is_there_the_error_names_them() -> None:
    port = free_port()
    known = a_cluster(f"redis://127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match=f"no node of the cluster 127.0.0.1:{port} says who has which slot"):
        await known.learn()


async def test_a_failure_is_not_repeated_at_once() -> None:
    known = a_cluster(f"redis://127.0.0.1:{free_port()}")
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await known.learn()
    assert asyncio.get_running_loop().time() - began >= 0.3


KINDS = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])

CALLS: dict[str, Callable[[Any], Any]] = {
    "new_channel": lambda layer: layer.new_channel(),
    "send": lambda layer: layer.send("jobs", {"type": "x"}),
    "send_many": lambda layer: layer.send_many([("jobs", {"type": "x"})]),
    "group_send": lambda layer: layer.group_send("room", {"type": "x"}),
    "group_add": lambda layer: layer.group_add("room", "jobs"),
    "receive": lambda layer: layer.receive("jobs"),
    "inspect": lambda layer: layer.inspect(),
    "sync.send": lambda layer: asyncio.to_thread(layer.sync.send, "jobs", {"type": "x"}),
    "sync.group_send": lambda layer: asyncio.to_thread(layer.sync.group_send, "room", {"type": "x"}),
}


@KINDS
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_no_cluster_says_so_at_once(
    redis_url: str, kind: type[RedisChannelLayer], call: str
) -> None:
    async with kind([redis_url], cluster=True, send_timeout=EVER) as layer, asyncio.timeout(PATIENCE):
        with pytest.raises((ServerRefused, NotAllSent), match="without cluster=True it will do"):
            await CALLS[call](layer)


@KINDS
@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_password_is_said_at_once(
    cluster: ClusterOfServers, kind: type[RedisChannelLayer], call: str
) -> None:
    nodes = [url.replace("//", "//someone:canary@") for url in cluster.urls]
    async with kind(nodes, cluster=True, send_timeout=EVER) as layer, asyncio.timeout(PATIENCE):
        with pytest.raises((ServerRefused, NotAllSent), match="refused: WRONGPASS"):
            await CALLS[call](layer)


async def test_a_refusal_that_passes_is_waited_out() -> None:
    node, other = ("127.0.0.1", 1), ("127.0.0.1", 2)
    known = a_cluster("redis://127.0.0.1:1")
    wrong, passing = ServerRefused("a", "WRONGPASS invalid"), ServerRefused("b", "LOADING the dataset")
    assert isinstance(known.nobody_says({node: wrong, other: wrong}), ServerRefused)
    assert isinstance(known.nobody_says({node: wrong, other: passing}), ConnectionError)
    assert isinstance(known.nobody_says({node: wrong, other: TimeoutError()}), ConnectionError)


@pytest.fixture
def alone() -> Iterator[ServerProcess]:
    """A server that could be a node, and that nobody made part of a Cluster."""
    with ServerProcess({"cluster-enabled": "yes", "cluster-port": free_port()}) as server:
        yield server


async def test_a_node_of_no_cluster_knows_nothing(alone: ServerProcess) -> None:
    with pytest.raises(ConnectionError, match="knows of no slots"):
        await a_cluster(alone.url).learn()


async def test_a_password_that_is_missing_is_told() -> None:
    config: dict[str, str | int] = {"cluster-enabled": "yes", "cluster-port": free_port(), "requirepass": "secret"}
    with ServerProcess(config) as server, pytest.raises(ServerRefused, match="NOAUTH"):
        await a_cluster(server.url).learn()


# Connections to a slot


async def test_a_slot_is_connected_to_at_its_node(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    keys = QueueKeys("asgi")
    for key in (keys.group(f"room{number}") for number in range(6)):
        endpoint = SlotEndpoint(known, known.slot_of(key))
        connection = await endpoint.connect(ignore, ignore)
        assert await connection.execute("EXISTS", key) == 0, "it is not sent elsewhere"
        assert endpoint.label == f"redis://127.0.0.1:{cluster.owner_of(known.slot_of(key)).port}/0"
        connection.close(ConnectionError("done"))


async def test_before_a_slot_is_known_the_cluster_is_named(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    assert SlotEndpoint(known, 0).label == f"cluster 127.0.0.1:{cluster.nodes[0].port}"


async def test_a_slot_that_nobody_has_is_named(cluster: ClusterOfServers) -> None:
    known = a_cluster(cluster.url)
    await known.learn()
    known._slots[7] = None
    with pytest.raises(ConnectionError, match="nobody has slot 7"):
        await SlotEndpoint(known, 7).connect(ignore, ignore)


# Replicas


async def test_a_replica_tells_as_well() -> None:
    with ClusterOfServers(1, replicas=1) as cluster:
        master, replica = cluster.nodes
        known = a_cluster(replica.url)
        await known.learn()
        assert known.nodes == [("127.0.0.1", master.port)]
        async with RedisChannelLayer([replica.url], cluster=True) as layer:
            await layer.send("jobs", {"type": "x"})
            assert await layer.receive("jobs") == {"type": "x"}
        master.kill()
        known.doubt()
        await known.learn()
        assert known.nodes == [("127.0.0.1", master.port)], "a replica that was never a seed is asked, too"
        with pytest.raises((ServerRefused, OSError)):
            await SlotEndpoint(known, 0).connect(ignore, ignore)
