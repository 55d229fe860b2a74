"""A master, its replicas and the Sentinels that look after them, all with passwords.

| fixture | what it is | lives |
|---|---|---|
| `sentinels` | one master, one replica, three Sentinels; nobody may break them | a run (with xdist: a worker) |

A test that breaks something makes a `Trio` of its own.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Self

import pytest
from redis import Redis
from redis.exceptions import RedisError

from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE

__all__ = ["SENTINEL_PASSWORD", "SERVER_PASSWORD", "SERVICE", "Trio", "sentinel_of", "sentinels"]

SERVICE = "mymaster"
SERVER_PASSWORD = "redis_password"
SENTINEL_PASSWORD = "sentinel_password"

ELSEWHERE = "127.0.0.2"
"""Where servers and Sentinels come from when they connect to each other, so that a proxy can tell them from clients."""


class Trio:
    """One master, `replicas` and three Sentinels. A master that is silent for a second is failed over.

    ```python
    with Trio() as trio:
        layer = RedisChannelLayer(**trio.options)
        trio.master.kill()
    ```

    Args:
        replicas: how many there are.
        apart: everybody reaches the data nodes through proxies, so that `isolate` works.
    """

    def __init__(self, replicas: int = 1, *, apart: bool = False) -> None:
        self._replicas = replicas
        self._apart = apart
        self._stack = ExitStack()
        self.servers: list[ServerProcess] = []
        """The first master, then the replicas."""
        self.sentinels: list[ServerProcess] = []
        self._gates: list[Gate] = []

    # What a layer is told

    @property
    def nodes(self) -> list[tuple[str, int]]:
        return [(sentinel.host, sentinel.port) for sentinel in self.sentinels]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a layer, as the guide prints them."""
        return {
            "sentinels": self.nodes,
            "service_name": SERVICE,
            "sentinel_kwargs": {"password": SENTINEL_PASSWORD},
            "connection_kwargs": {"password": SERVER_PASSWORD},
        }

    @property
    def host(self) -> dict[str, Any]:
        """The same as an entry of `hosts`."""
        return {
            "sentinels": self.nodes,
            "master_name": SERVICE,
            "sentinel_kwargs": {"password": SENTINEL_PASSWORD},
            "password": SERVER_PASSWORD,
        }

    # Who is who

    @property
    def master(self) -> ServerProcess:
        """Whom most Sentinels take for the master."""
        named = [self._named_by(sentinel) for sentinel in self.sentinels if sentinel.running]
        return max(self.servers, key=named.count)

    def _named_by(self, sentinel: ServerProcess) -> ServerProcess:
        _, port = asked(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if self._port_of(server) == int(port))

    def _port_of(self, server: ServerProcess) -> int:
        return self.gate_of(server).port if self._apart else server.port

    def redis(self, server: ServerProcess) -> "Redis":
        """A client of a data node, past every proxy."""
        return Redis(port=server.port, password=SERVER_PASSWORD, decode_responses=True)

    def follow(self, server: ServerProcess, master: ServerProcess | None) -> None:
        """Make `server` a replica by hand, of `master`, or of nobody who answers. Its clients are told nothing."""
        with self.redis(server) as client:
            client.replicaof("127.0.0.1", str(self._port_of(master) if master else 1))

    # What happens to them

    def gate_of(self, server: ServerProcess) -> "Gate":
        """The proxy in front of `server`."""
        return self._gates[self.servers.index(server)]

    def isolate(self, server: ServerProcess) -> None:
        """Cut `server` off from the other servers and the Sentinels; its clients notice nothing."""
        self.gate_of(server).shut()

    def rejoin(self, server: ServerProcess) -> None:
        """Undo it."""
        self.gate_of(server).reopen()

    async def failed_over(self, since: ServerProcess) -> float:
        """Wait until the Sentinels name another master than `since`; the seconds that it took."""
        return await waited(lambda: self.master is not since, "the Sentinels made nobody the master")

    async def replicated(self) -> None:
        """Wait until every replica that is connected has everything that the master has now."""
        with self.redis(self.master) as client:
            count = client.info("replication")["connected_slaves"]
            client.set("replicated", "?", ex=60)
            assert await asyncio.to_thread(client.wait, count, 10_000) >= count

    # Life

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        for number in range(1 + self._replicas):
            self._start_server(number)
        master = self._port_of(self.servers[0])
        self.sentinels = [self._open(sentinel_of(master)) for _ in range(3)]
        for sentinel in self.sentinels:
            asked(sentinel, "SENTINEL", "DEBUG", "PUBLISH-PERIOD", "100", "INFO-PERIOD", "500")
        deadline = time.monotonic() + 10
        while not self._is_complete():
            assert time.monotonic() < deadline, self.sentinels[0].log()[-2000:]
            time.sleep(0.02)

    def _start_server(self, number: int) -> None:
        config: dict[str, str | int] = {
            "requirepass": SERVER_PASSWORD,
            "masterauth": SERVER_PASSWORD,
            "repl-diskless-sync-delay": 0,
        }
        server = ServerProcess()
        if self._apart:
            gate = self._stack.enter_context(Gate(free_of(server)))
            self._gates.append(gate)
            config |= {"bind-source-addr": ELSEWHERE, "replica-announce-ip": "127.0.0.1"}
            config |= {"replica-announce-port": gate.port}
        if number:
            config["replicaof"] = f"127.0.0.1 {self._port_of(self.servers[0])}"
        server.config = dict(config)
        self.servers.append(self._open(server))

    def _open(self, server: ServerProcess) -> ServerProcess:
        return self._stack.enter_context(server)

    def _is_complete(self) -> bool:
        """Whether all Sentinels know each other and all replicas, and those have what the master has."""
        return all(
            state["num-other-sentinels"] == "2" and state["num-slaves"] == str(self._replicas)
            for state in map(state_of, self.sentinels)
        ) and all(self._is_in_line(server) for server in self.servers[1:])

    def _is_in_line(self, replica: ServerProcess) -> bool:
        with suppress(RedisError), self.redis(replica) as client:
            return bool(client.info("replication")["master_link_status"] == "up")
        return False


def sentinel_of(master: int) -> ServerProcess:
    """A Sentinel of the master at a port."""
    service = [
        f"monitor {SERVICE} 127.0.0.1 {master} 2",
        f"auth-pass {SERVICE} {SERVER_PASSWORD}",
        f"down-after-milliseconds {SERVICE} 1000",
        f"failover-timeout {SERVICE} 3000",
        f"parallel-syncs {SERVICE} 1",
        "announce-ip 127.0.0.1",
    ]
    config = {"sentinel": service, "requirepass": SENTINEL_PASSWORD, "bind-source-addr": ELSEWHERE}
    return ServerProcess(config, arguments=["--sentinel"])


def asked(sentinel: ServerProcess, *command: str) -> Any:
    """What a Sentinel answers."""
    with Redis(port=sentinel.port, password=SENTINEL_PASSWORD, decode_responses=True) as client:
        return client.execute_command(*command)


def state_of(sentinel: ServerProcess) -> dict[str, str]:
    return {str(key): str(value) for key, value in asked(sentinel, "SENTINEL", "MASTER", SERVICE).items()}


def free_of(server: ServerProcess) -> int:
    """The port that `server` will have."""
    server.start()
    server.stop()
    return server.port


async def waited(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> float:
    """Wait until something outside of this process is so; the seconds that it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < began + timeout, what
        await asyncio.sleep(0.02)
    return time.monotonic() - began


class Gate(Proxy):
    """A proxy that may be shut for servers and Sentinels, and stays open for clients."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._shut_for_servers = False

    def shut(self) -> None:
        def change() -> None:
            self._shut_for_servers = True
            for link in tuple(self._links):
                if is_server(link.writer_to_other("server")):
                    link.cut()

        self._in_loop(change)

    def reopen(self) -> None:
        self._in_loop(lambda: setattr(self, "_shut_for_servers", False))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut_for_servers and is_server(writer):
            writer.transport.abort()
            return
        await super()._connected(reader, writer)


def is_server(writer: asyncio.StreamWriter) -> bool:
    """Whether a server, or a Sentinel, is at the other end."""
    return bool(writer.get_extra_info("peername")[0] == ELSEWHERE)


@pytest.fixture(scope="session")
def sentinels() -> Iterator[Trio]:
    if find_server_binary() is None:
        pytest.skip(NO_SERVER)
    with Trio() as trio:
        yield trio
