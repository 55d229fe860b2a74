"""A Cluster of real servers: started at once, broken node by node, its slots moved about.

Every node finds on its disk what a Cluster that had run before would have left there, so nobody has to be introduced
to anybody. What takes time is the servers' own caution: a master that starts serves nothing for two seconds.
"""

import hashlib
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import pytest
from redis import Redis, RedisError
from redis.crc import key_slot

from fast_channels.testing.server import NO_SERVER, ServerProcess, ServerProcessError, find_server_binary
from tests.support.servers import server_binary
from tests.support.waiting import PATIENCE

__all__ = ["SLOTS", "ClusterOfServers", "cluster", "debians_redis_cluster", "redis8_cluster", "slot_of"]

SLOTS: Final = 16384

PORTS: Final = range(12_000, 28_000)
"""Below those that the system gives to connections: a node that was killed finds its port free."""

STEADY: Final = 15_000
QUICK: Final = 1_000
"""Milliseconds after which a silent node counts as dead: for Clusters that shall not notice a busy machine, and for
those whose nodes are killed."""


def slot_of(key: str | bytes) -> int:
    """The slot of a key, or of an address of sharded pub/sub."""
    slot: int = key_slot(key if isinstance(key, bytes) else key.encode())
    return slot


@dataclass(frozen=True, slots=True, eq=False)
class _Seat:
    """What stands about one node in the files of all."""

    port: int
    bus: int
    master: "_Seat | None"
    slots: str = ""
    epoch: int = 0
    id: str = field(init=False)

    def __post_init__(self) -> None:
        name = hashlib.sha1(f"{self.port}".encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "id", name)

    def line(self, *, myself: bool, with_shard: bool) -> str:
        role = "master" if self.master is None else "slave"
        flags = f"myself,{role}" if myself else role
        master = "-" if self.master is None else self.master.id
        address = f"127.0.0.1:{self.port}@{self.bus}"
        if with_shard:  # without it, a node of Valkey 9.1 fails an assertion when it passes on what is published
            address += f",,tls-port=0,shard-id={(self.master or self).id[::-1]}"
        return f"{self.id} {address} {flags} {master} 0 0 {self.epoch} connected {self.slots}"


class ClusterOfServers:
    """`masters` nodes with the slots in equal parts, and `replicas` for each.

    ```python
    with ClusterOfServers(3, replicas=1, node_timeout=QUICK) as cluster:
        layer = RedisChannelLayer([cluster.url], cluster=True)
        cluster.owner_of(slot).kill()
    ```

    Args:
        masters: how many.
        replicas: of each master.
        node_timeout: milliseconds after which a silent node counts as dead.
        config: more directives for every node.
        binary: the path of the server; None for what is found.
    """

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 0,
        *,
        node_timeout: int = STEADY,
        config: Mapping[str, str | int] | None = None,
        binary: str | None = None,
    ) -> None:
        self._masters = masters
        self._replicas = replicas
        self._binary = binary
        self._config: dict[str, str | int] = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": node_timeout,
            "cluster-replica-validity-factor": 0,
            "cluster-allow-replica-migration": "no",
            "cluster-migration-barrier": 0,
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
            **(config or {}),
        }
        self.nodes: list[ServerProcess] = []
        """The masters of the beginning, then their replicas, in the same order."""

    def __repr__(self) -> str:
        return f"<ClusterOfServers {', '.join(map(repr, self.nodes))}>"

    # Life

    def start(self) -> Self:
        """Start all nodes, and return when every slot is served and every replica is in step."""
        for attempt in range(3):
            try:
                self._start()
            except ServerProcessError:
                self.close()
                if attempt == 2:
                    raise
            else:
                break
        self.wait_until_sound()
        return self

    def _start(self) -> None:
        seats = self._seats()
        self.nodes = [self._node(seat) for seat in seats]
        knows_shards = _knows_shards(self.nodes[0].binary)
        for node, own in zip(self.nodes, seats, strict=True):
            lines = [seat.line(myself=seat is own, with_shard=knows_shards) for seat in seats]
            lines.append(f"vars currentEpoch {self._masters} lastVoteEpoch 0")
            (node.folder / "nodes.conf").write_text("\n".join(lines) + "\n")
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(ServerProcess.start, self.nodes))

    def _seats(self) -> list[_Seat]:
        count = self._masters * (1 + self._replicas)
        ports = _free_ports(2 * count)
        bounds = [SLOTS * number // self._masters for number in range(self._masters + 1)]
        seats = [
            _Seat(ports.pop(), ports.pop(), None, f"{bounds[number]}-{bounds[number + 1] - 1}", number + 1)
            for number in range(self._masters)
        ]
        return seats + [
            _Seat(ports.pop(), ports.pop(), master, epoch=master.epoch)
            for _ in range(self._replicas)
            for master in tuple(seats)
        ]

    def _node(self, seat: _Seat) -> ServerProcess:
        return ServerProcess({**self._config, "cluster-port": seat.bus}, port=seat.port, binary=self._binary)

    def close(self) -> None:
        """End all nodes. Idempotent."""
        for node in self.nodes:
            node.kill()  # nobody needs what they would save
        for node in self.nodes:
            node.close()
        self.nodes = []

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Asking

    @property
    def url(self) -> str:
        """One of its nodes."""
        return self.nodes[0].url

    @property
    def urls(self) -> list[str]:
        """All of its nodes."""
        return [node.url for node in self.nodes]

    @contextmanager
    def admin(self, node: ServerProcess) -> Iterator["Redis"]:
        """A client of one node, which follows nothing."""
        with Redis(port=node.port, decode_responses=True, socket_timeout=5) as client:
            yield client

    def ask(self, node: ServerProcess, *command: Any) -> Any:
        """What one node answers to a command."""
        with self.admin(node) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def state_of(self, node: ServerProcess) -> dict[str, str]:
        """CLUSTER INFO of a node; empty if it does not answer."""
        try:
            answer: str = self.ask(node, "CLUSTER", "INFO")
        except (RedisError, OSError):
            return {}
        return dict(line.split(":", 1) for line in answer.split())

    def owner_of(self, slot: int) -> ServerProcess:
        """The master of a slot, as the first node knows it that is alive."""
        witness = next(node for node in self.nodes if self.state_of(node))
        return self.owner_seen_by(witness, slot)

    def owner_seen_by(self, witness: ServerProcess, slot: int) -> ServerProcess:
        """The master of a slot, as `witness` knows it."""
        for first, last, master, *_ in self.ask(witness, "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self.by_port(master[1])
        raise LookupError(f"nobody has slot {slot}")

    def by_port(self, port: int) -> ServerProcess:
        """The node that listens there."""
        return next(node for node in self.nodes if node.port == port)

    def id_of(self, node: ServerProcess) -> str:
        """The name of a node in the Cluster."""
        return str(self.ask(node, "CLUSTER", "MYID"))

    def is_master(self, node: ServerProcess) -> bool:
        """Whether a node says so."""
        role: list[Any] = self.ask(node, "ROLE")
        return str(role[0]) == "master"

    def replica_of(self, master: ServerProcess) -> ServerProcess:
        """The replica that stands by for one of the first masters."""
        return self.nodes[self.nodes.index(master) + self._masters]

    def empty(self) -> None:
        """Drop all keys."""
        for node in self.nodes:
            if self.is_master(node):
                self.ask(node, "FLUSHALL")

    # Waiting

    def wait_until_sound(self, timeout: float = PATIENCE) -> None:
        """Return when every node that runs says that all slots are served, and every replica is in step."""
        for node in self.nodes:
            if node.running:
                wait_for(lambda: self._is_sound(node), f"{node} is not sound: {self.state_of(node)}", timeout)  # noqa: B023

    def replicated(self, master: ServerProcess) -> None:
        """Return when the replicas of a master have all that it has now."""
        with self.admin(master) as client:

            def offsets() -> list[int]:
                replication = client.info("replication")
                return [
                    int(replica["offset"]) for key, replica in replication.items() if re.fullmatch(r"slave\d+", key)
                ]

            now = client.info("replication")["master_repl_offset"]
            wait_for(lambda: (found := offsets()) and min(found) >= now, f"the replicas of {master} are behind")

    def _is_sound(self, node: ServerProcess) -> bool:
        if self.state_of(node).get("cluster_state") != "ok":
            return False
        role: list[Any] = self.ask(node, "ROLE")
        return bool(role[0] == "master" or role[3] == "connected")

    # Moving slots

    def begin_move(self, slot: int, to: ServerProcess) -> ServerProcess:
        """Let a slot be on its way to another master; who has it still is returned. Keys are moved by `move_keys`."""
        owner = self.owner_of(slot)
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(owner))
        self.ask(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(to))
        return owner

    def move_keys(self, slot: int, owner: ServerProcess, to: ServerProcess, at_most: int = 1_000_000) -> int:
        """Move keys of a slot that is on its way; how many there were."""
        moved = 0
        with self.admin(owner) as client:
            while moved < at_most and (keys := self.keys_in(slot, owner, min(100, at_most - moved))):
                client.migrate("127.0.0.1", to.port, keys, 0, 5000)
                moved += len(keys)
        return moved

    def keys_in(self, slot: int, node: ServerProcess, count: int = 100) -> list[str]:
        """Some keys of a slot that are on a node."""
        keys: list[str] = self.ask(node, "CLUSTER", "GETKEYSINSLOT", slot, count)
        return keys

    def end_move(self, slot: int, owner: ServerProcess, to: ServerProcess) -> None:
        """Tell all masters that `to` has the slot now: it first, so that somebody always has it."""
        new = self.id_of(to)
        masters = [node for node in self.nodes if node.running and self.is_master(node)]
        for node in dict.fromkeys([to, owner, *masters]):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", new)

    def move_slot(self, slot: int, to: ServerProcess) -> None:
        """Move a slot with all its keys, as `redis-cli --cluster reshard` does it."""
        owner = self.begin_move(slot, to)
        self.move_keys(slot, owner, to)
        self.end_move(slot, owner, to)
        wait_for(lambda: all(self.owner_seen_by(node, slot) is to for node in self.nodes if node.running), "all know")

    def move_slot_whole(self, slot: int, to: ServerProcess) -> None:
        """Move a slot with all its keys in one go, as Valkey does from version 9 on."""
        self.ask(self.owner_of(slot), "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.id_of(to))
        wait_for(lambda: all(self.owner_seen_by(node, slot) is to for node in self.nodes if node.running), "all know")

    def fail_over(self, replica: ServerProcess) -> None:
        """Let a replica take its master's place, orderly; returns when it has."""
        self.ask(replica, "CLUSTER", "FAILOVER")
        wait_for(lambda: self.is_master(replica), f"{replica} is still a replica")

    def other_master(self, node: ServerProcess) -> ServerProcess:
        """A master that is not `node`."""
        return next(other for other in self.nodes if other is not node and other.running and self.is_master(other))


def wait_for(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Return as soon as `condition()` is true; an answer that does not come counts as no."""
    deadline = time.monotonic() + timeout
    while True:
        with suppress(RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.01)


def _knows_shards(binary: str) -> bool:
    """Whether a server reads the shard of a node in its file. Redis 7.0 takes it for the name of a host."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return " v=7.0." not in version


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, held together until all are found."""
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        while len(found) < count:
            probe = socket.socket()
            held.append(probe)
            with suppress(OSError):
                probe.bind(("127.0.0.1", random.choice(PORTS)))
                found.append(probe.getsockname()[1])
    finally:
        for probe in held:
            probe.close()
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterOfServers]:
    """Three masters, shared by all tests: who breaks something has a Cluster of its own."""
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with ClusterOfServers() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis8_cluster() -> Iterator[ClusterOfServers]:
    """The same, of Redis 8.2."""
    with ClusterOfServers(binary=server_binary("redis8")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def debians_redis_cluster() -> Iterator[ClusterOfServers]:
    """The same, of Redis 7.0."""
    with ClusterOfServers(binary=server_binary("redis7")) as cluster:
        yield cluster
