"""Which server holds what, and how a thread connects to it: the blocking twin of `topology` and `cluster`.

What is known of a Cluster is shared with the event loops of the layer.
"""

import time
from collections import Counter
from typing import Any, Final, Protocol, TypeAlias

from hiredis import ReplyError
from redis import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.redis.blocking_connection import BlockingConnection, connect
from fast_channels.layers.redis.certificates import explained
from fast_channels.layers.redis.cluster import Cluster, Node, no_map, read_map, redirection
from fast_channels.layers.redis.cluster_servers import Topology
from fast_channels.layers.redis.config import SentinelMaster, Server
from fast_channels.layers.redis.topology import ASK_AGAIN, CONNECT_TIMEOUT, Shards, is_named_master, most_named

__all__ = ["BlockingEndpoint", "BlockingServers", "Place", "servers_for_threads"]

Place: TypeAlias = int | Node
"""Tells servers apart: the number of a shard, or the node of a Cluster."""

QUICK: Final = 1.0
"""Seconds in which Sentinels are asked whether the master is still one, while somebody waits to send."""


class BlockingServers(Protocol):
    """The servers of a layer, for all threads."""

    publish: bytes
    """The command that reaches those who subscribe."""

    def place_of(self, address: bytes) -> Place | None:
        """Which server an address belongs to; None if that is to be learned first."""
        ...

    def endpoint(self, place: Place) -> "BlockingEndpoint":
        """How to connect to it."""
        ...

    def label_of(self, address: bytes) -> str:
        """The server of an address as logs and errors name it."""
        ...

    def learn(self, deadline: float) -> None:
        """Find out which server has what.

        Raises:
            OSError, FastChannelsError: nobody says so.
        """
        ...

    def redirected(self, address: bytes, asked: Place, answer: str) -> Place | None:
        """The server to ask in the place of `asked`, for this time, if `answer` (MOVED, ASK) names one."""
        ...

    def doubt(self) -> None:
        """A server does not serve what it should: learn before the next command."""
        ...


class BlockingEndpoint:
    """As `topology.Endpoint`: a server, or a master that its Sentinels name anew at each connection."""

    def __init__(self, where: Server | SentinelMaster, *, any_role: bool = False) -> None:
        self._where = where
        self._any_role = any_role
        self._first = 0  # the Sentinel that is asked first
        self._asked_at = float("-inf")  # when all were asked
        self._named: tuple[float, tuple[str, int] | None] = (self._asked_at, None)  # since when, whom most of them name
        self._silent: set[tuple[str, int]] = set()  # who did not answer is asked last

    def __repr__(self) -> str:
        return f"<BlockingEndpoint {self.label}>"

    @property
    def label(self) -> str:
        """The server as logs and errors name it, without a password."""
        return self._where.label

    def connect(self, deadline: float) -> BlockingConnection:
        """A new connection that has been greeted. See `blocking_connection.connect`."""
        template = self._where.template if isinstance(self._where, Server) else self._where.server.template
        limit = getattr(template, "socket_connect_timeout", None) or CONNECT_TIMEOUT
        deadline = min(deadline, time.monotonic() + limit)
        try:
            return connect(self._locate(deadline), self.label, deadline, any_role=self._any_role)
        except Exception:
            self._first += 1  # a Sentinel that is behind names the old master: another one may know better
            raise

    def another_master(self, connection: BlockingConnection, deadline: float) -> str | None:
        """The master that most Sentinels name, if it is not the one that `connection` leads to; else None."""
        if isinstance(self._where, Server):
            return None
        now = time.monotonic()
        if now - self._asked_at > ASK_AGAIN:
            self._asked_at = now
            self._named = now, self._named_by_most(self._where, min(deadline, now + QUICK))
        named_at, named = self._named
        if named is None or named == connection.peer or named_at < connection.begun_at:
            return None
        self._first += 1  # whoever named the other one is behind
        return "{}:{}".format(*named)

    def _named_by_most(self, master: SentinelMaster, deadline: float) -> tuple[str, int] | None:
        named: Counter[tuple[str, int]] = Counter()
        nodes = sorted(master.sentinels, key=self._silent.__contains__)
        for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
            share = max(0.01, (deadline - time.monotonic()) / left)
            try:
                named[_ask(node, master, share)] += 1
            except (RedisError, OSError):
                self._silent.add(node)
            else:
                self._silent.discard(node)
            if (most := most_named(named, len(nodes))) is not None:
                return most
        return None

    def _locate(self, deadline: float) -> Server:
        if isinstance(self._where, Server):
            return self._where
        # They are asked in turn: one that does not answer leaves time for the others, and for the connection.
        nodes = self._where.sentinels
        share = max(0.01, (deadline - time.monotonic()) / (len(nodes) + 1))
        first = self._first % len(nodes)
        answers = []
        for node in (*nodes[first:], *nodes[:first]):
            try:
                host, port = _ask(node, self._where, share)
            except (RedisError, OSError) as error:
                answers.append(f"{node[0]}:{node[1]}: {explained(error, node[0])}")
            else:
                return self._where.server.at(host, port)
        raise ConnectionError(f"no Sentinel names a master ({'; '.join(answers)})")


def _ask(node: tuple[str, int], master: SentinelMaster, patience: float) -> tuple[str, int]:
    """The address of a master that one Sentinel gives."""
    limits = {"socket_connect_timeout": patience, "socket_timeout": patience, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel([node], sentinel_kwargs={**limits, **master.sentinel_options})  # type: ignore[no-untyped-call]
    client: Any = sentinel.sentinels[0]
    try:
        state = client.sentinel_masters().get(master.name)
    finally:
        client.close()
    if not is_named_master(state):
        raise ConnectionError(f"it knows no master {master.name!r} that is up")
    return state["ip"], int(state["port"])


class _Shards:
    """Servers that share the load."""

    publish = b"PUBLISH"

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._endpoints = [BlockingEndpoint(shards.endpoint(place).where) for place in range(len(shards))]

    def place_of(self, address: bytes) -> Place:
        return self._shards.place_of(address)

    def endpoint(self, place: Place) -> BlockingEndpoint:
        return self._endpoints[int(place)]  # type: ignore[arg-type]

    def label_of(self, address: bytes) -> str:
        return self.endpoint(self.place_of(address)).label

    def learn(self, deadline: float) -> None:
        """There is nothing to learn."""

    def redirected(self, address: bytes, asked: Place, answer: str) -> Place | None:
        return None

    def doubt(self) -> None:
        """There is nothing to doubt."""


class _Cluster:
    """The nodes of a Cluster."""

    publish = b"SPUBLISH"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._in_doubt = False
        self._silent: set[Node] = set()  # who did not answer is asked last

    def place_of(self, address: bytes) -> Place | None:
        return None if self._in_doubt else self._cluster.node_of(self._cluster.slot_of(address))

    def endpoint(self, place: Place) -> BlockingEndpoint:
        return BlockingEndpoint(self._cluster.endpoint(_node(place)).where)

    def label_of(self, address: bytes) -> str:
        node = self._cluster.node_of(self._cluster.slot_of(address))
        return self._cluster.label if node is None else self._cluster.endpoint(node).label

    def learn(self, deadline: float) -> None:
        if self._in_doubt or not self._cluster.is_fresh:
            self._learn(deadline)
        self._in_doubt = False

    def _learn(self, deadline: float) -> None:
        nodes = sorted(self._cluster.some_nodes(), key=self._silent.__contains__)
        failed: dict[Node, BaseException] = {}
        for left, node in zip(range(len(nodes), 0, -1), nodes, strict=True):
            share = (deadline - time.monotonic()) / (left + 1)
            try:
                answer = self._ask(node, time.monotonic() + share)
                self._silent.discard(node)
                return self._cluster.take_in(*read_map(answer, node))
            except (OSError, FastChannelsError) as error:
                self._silent.add(node)
                failed[node] = error
        raise self._cluster.nobody_says(failed)

    def _ask(self, node: Node, deadline: float) -> Any:
        endpoint = BlockingEndpoint(self._cluster.endpoint(node).where, any_role=True)
        connection = endpoint.connect(deadline)
        try:
            answer = connection.call(b"CLUSTER", b"SLOTS", deadline=deadline)
        finally:
            connection.close()
        if isinstance(answer, ReplyError):
            raise no_map(endpoint.label, answer)
        return answer

    def redirected(self, address: bytes, asked: Place, answer: str) -> Place | None:
        node = redirection(answer, _node(asked))
        if answer.startswith("MOVED "):
            self._cluster.moved(self._cluster.slot_of(address), node)
        return node

    def doubt(self) -> None:
        self._in_doubt = True


def _node(place: Place) -> Node:
    if isinstance(place, int):
        raise TypeError("a shard is no node of a Cluster")
    return place


def servers_for_threads(topology: Topology) -> BlockingServers:
    """The servers of a layer. A Cluster's pub/sub is sharded."""
    return _Cluster(topology) if isinstance(topology, Cluster) else _Shards(topology)
