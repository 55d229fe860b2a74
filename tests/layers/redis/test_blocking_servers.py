"""Which server a thread connects to: the same one as a loop does, for the same reasons."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis import blocking_servers
from fast_channels.layers.redis.blocking_servers import BlockingEndpoint, servers_for_threads
from fast_channels.layers.redis.cluster import Cluster
from fast_channels.layers.redis.config import Server, parse_hosts
from fast_channels.layers.redis.topology import Endpoint, Shards, is_named_master, most_named
from fast_channels.testing.server import free_port
from tests.support.clusters import ClusterOfServers, slot_of
from tests.support.sentinels import SENTINEL_PASSWORD, SERVER_PASSWORD, SERVICE, Trio
from tests.support.waiting import PATIENCE


def soon() -> float:
    return time.monotonic() + PATIENCE


def test_shards_are_those_of_the_loops() -> None:
    shards = Shards([Endpoint(server) for server in parse_hosts(["redis://a", "redis://b", "redis://c"])])
    servers = servers_for_threads(shards)
    assert servers.publish == b"PUBLISH"
    for number in range(50):
        address = b"asgi|{c:%d}|ready" % number
        assert servers.place_of(address) == shards.place_of(address)
        assert servers.label_of(address) == shards.endpoint(shards.place_of(address)).label
        assert servers.redirected(address, 0, "MOVED 1 a:1") is None


def test_what_is_learned_of_a_cluster_is_known_to_all(cluster: ClusterOfServers) -> None:
    nodes = [server for server in parse_hosts(cluster.urls) if isinstance(server, Server)]
    known = Cluster(nodes)
    servers, others = servers_for_threads(known), servers_for_threads(known)
    assert servers.publish == b"SPUBLISH"
    assert servers.place_of(b"key") is None
    assert servers.label_of(b"key") == known.label
    servers.learn(soon())
    owner = cluster.owner_of(slot_of(b"key"))
    assert servers.place_of(b"key") == others.place_of(b"key") == (owner.host, owner.port)
    servers.doubt()
    assert servers.place_of(b"key") is None
    servers.learn(soon())
    assert servers.redirected(b"key", ("a", 1), "ASK 1 b:2") == ("b", 2)
    assert servers.place_of(b"key") == (owner.host, owner.port)
    assert servers.redirected(b"key", ("a", 1), "MOVED 1 :2") == ("a", 2)
    assert servers.place_of(b"key") == ("a", 2)


def test_a_node_that_said_nothing_is_asked_last_the_next_time(
    cluster: ClusterOfServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "sample", lambda nodes, count: nodes[:count])
    with silent_servers(1) as (silent,):
        urls = [f"redis://127.0.0.1:{silent.getsockname()[1]}", *cluster.urls]
        servers = servers_for_threads(Cluster([server for server in parse_hosts(urls) if isinstance(server, Server)]))
        for _ in range(3):
            servers.doubt()
            servers.learn(time.monotonic() + 4)
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_nodes_that_are_away_are_named() -> None:
    (node,) = parse_hosts([f"redis://127.0.0.1:{free_port()}"])
    assert isinstance(node, Server)
    with pytest.raises(ConnectionError, match=rf"says who has which slot \(127\.0\.0\.1:{node.port}: .*refused"):
        servers_for_threads(Cluster([node])).learn(soon())


def test_a_master_is_asked_for_and_asked_about(sentinels: Trio) -> None:
    endpoint = BlockingEndpoint(parse_hosts([sentinels.host])[0])
    connection = endpoint.connect(soon())
    assert connection.peer == ("127.0.0.1", sentinels.master.port)
    assert endpoint.another_master(connection, soon()) is None
    connection.peer = ("127.0.0.1", 1)
    assert endpoint.another_master(connection, soon()) == f"127.0.0.1:{sentinels.master.port}"
    connection.close()


@contextmanager
def silent_servers(count: int) -> Iterator[list[socket.socket]]:
    """They accept connections, and say nothing."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def beside(sentinels: Trio, silent: list[socket.socket]) -> BlockingEndpoint:
    """The servers that say nothing are asked first."""
    nodes = [each.getsockname() for each in silent] + sentinels.nodes
    return BlockingEndpoint(parse_hosts([{**sentinels.host, "sentinels": nodes}])[0])


def test_sentinels_that_say_nothing_hold_nobody_up_for_longer_than_a_second(sentinels: Trio) -> None:
    connection = BlockingEndpoint(parse_hosts([sentinels.host])[0]).connect(soon())
    with silent_servers(6) as silent:
        began = time.monotonic()
        assert beside(sentinels, silent).another_master(connection, soon()) is None
        assert time.monotonic() - began < 5 * blocking_servers.QUICK
    connection.close()


def test_a_sentinel_that_said_nothing_is_asked_last_the_next_time(
    sentinels: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking_servers, "ASK_AGAIN", 0)
    monkeypatch.setattr(blocking_servers, "QUICK", PATIENCE)
    with silent_servers(1) as (silent,):
        endpoint = beside(sentinels, [silent])
        connection = BlockingEndpoint(parse_hosts([sentinels.host])[0]).connect(soon())
        connection.peer = ("127.0.0.1", 1)
        for _ in range(3):
            named = endpoint.another_master(connection, time.monotonic() + 4)
            assert named == f"127.0.0.1:{sentinels.master.port}"
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
        connection.close()


def test_a_sentinel_that_is_away_is_passed_over(sentinels: Trio) -> None:
    host: dict[str, Any] = {**sentinels.host, "sentinels": [("127.0.0.1", free_port()), *sentinels.nodes]}
    endpoint = BlockingEndpoint(parse_hosts([host])[0])
    endpoint.connect(soon()).close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"master_name": "nobody"}, "it knows no master 'nobody' that is up"),
        ({"sentinel_kwargs": {"password": "wrong"}}, "WRONGPASS|invalid"),
        ({"sentinels": [("127.0.0.1", 1)]}, "127.0.0.1:1: .*refused"),
    ],
)
def test_if_none_names_a_master_each_says_why(sentinels: Trio, change: dict[str, Any], reason: str) -> None:
    endpoint = BlockingEndpoint(parse_hosts([{**sentinels.host, **change}])[0])
    with pytest.raises(ConnectionError, match=rf"no Sentinel names a master \(.*({reason})") as failed:
        endpoint.connect(soon())
    assert SENTINEL_PASSWORD not in str(failed.value)
    assert SERVER_PASSWORD not in str(failed.value)
    assert SERVICE in repr(endpoint) or "nobody" in repr(endpoint)


@pytest.mark.parametrize(
    ("named", "sentinels", "most"),
    [
        ({("a", 1): 2, ("b", 1): 1}, 3, ("a", 1)),
        ({("a", 1): 1}, 3, None),
        ({("a", 1): 2, ("b", 1): 2}, 4, None),
        ({}, 1, None),
    ],
)
def test_more_than_half_must_name_it(named: dict[tuple[str, int], int], sentinels: int, most: Any) -> None:
    assert most_named(Counter(named), sentinels) == most


UP = {"is_master": True, "is_sdown": False, "is_odown": False}


@pytest.mark.parametrize(
    ("state", "is_up"),
    [
        (UP, True),
        ({**UP, "is_sdown": True}, False),
        ({**UP, "is_odown": True}, False),
        ({**UP, "is_master": False}, False),
    ],
)
def test_a_master_that_is_down_is_none(state: dict[str, Any], is_up: bool) -> None:
    assert is_named_master(state) is is_up
    assert not is_named_master(None)
    assert not is_named_master({})


def test_what_was_counted_apart_is_counted_together() -> None:
    one, other = Counters(), Counters()
    one.sent, other.sent, other.group_sent = 2, 3, 1
    one.drop("expired")
    other.drop("expired", 2)
    other.drop("channel_gone")
    total = one.plus(other)
    assert (total.sent, total.group_sent, total.dropped) == (5, 1, {"expired": 3, "channel_gone": 1})
    assert (one.sent, one.dropped) == (2, {"expired": 1})
