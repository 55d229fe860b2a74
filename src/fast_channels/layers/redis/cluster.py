"""A Redis Cluster: which node has which slot, as far as this process knows, and how it learns better."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from hiredis import ReplyError
from redis.crc import key_slot

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.certificates import none_of_them
from fast_channels.layers.redis.config import Server
from fast_channels.layers.redis.connection import Connection, PushHandler
from fast_channels.layers.redis.link import forget, passes_by_itself
from fast_channels.layers.redis.topology import Endpoint

__all__ = ["FRESH", "Cluster", "Node", "SlotEndpoint", "no_map", "read_map", "redirection"]

SLOTS: Final = 16384

FRESH: Final = 0.1
"""Seconds for which what a node said is not asked for again, and between two attempts when none says anything."""

ASKED_AT_ONCE: Final = 3
"""Nodes that are asked at a time; the first answer counts."""

Node = tuple[str, int]
"""Host and port."""

Range = tuple[int, int, Node]
"""The first slot, the last one, and their master."""


class Cluster:
    """The slots of a Cluster. One for all event loops of a layer.

    Args:
        servers: some of its nodes, masters or replicas; the options of the first are those of all nodes.

    Raises:
        ValueError: a node with a database other than 0, or at a Unix socket.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        for server in servers:
            if server.path is not None:
                raise ValueError("the nodes of a Cluster are reached by host and port, not at a Unix socket")
            if server.template.db:
                raise ValueError("a Cluster has one database: take the number out of the URL")
        self._seeds = [(server.host, server.port) for server in servers]
        self._options = servers[0]
        self._others: list[Node] = []
        self._slots: list[Node | None] = [None] * SLOTS
        self._learned_at = float("-inf")
        self._learning: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Cluster of {len(self.nodes)} known masters, {self.label}>"

    @property
    def label(self) -> str:
        """The Cluster as logs and errors name it: by the nodes that were given."""
        return "cluster " + ", ".join(f"{host}:{port}" for host, port in self._seeds)

    @property
    def nodes(self) -> list[Node]:
        """The masters that are known."""
        return sorted({node for node in self._slots if node is not None})

    def slot_of(self, address: bytes) -> int:
        """The slot of an address: by what stands in braces, or by all of it."""
        slot: int = key_slot(address)
        return slot

    def node_of(self, slot: int) -> Node | None:
        """The master of a slot; None before it is known."""
        return self._slots[slot]

    @property
    def is_fresh(self) -> bool:
        """Whether what is known was learned a moment ago."""
        return time.monotonic() - self._learned_at < FRESH

    def endpoint(self, node: Node) -> Endpoint:
        """How to connect to a node."""
        return Endpoint(self._options.at(*node))

    def moved(self, slot: int, node: Node) -> None:
        """A node says that a slot is elsewhere."""
        self._slots[slot] = node
        self.doubt()  # so may be others

    def doubt(self) -> None:
        """What is known may be old: ask the next time that somebody wants to know."""
        self._learned_at = float("-inf")

    async def learn(self) -> None:
        """Ask the nodes who has what, unless that was done a moment ago.

        Raises:
            OSError: none answers; with the reason of each.
            ServerRefused: all refuse, and not only for now.
        """
        if self.is_fresh:
            return
        loop = asyncio.get_running_loop()
        task = self._learning.get(loop)
        if task is None or task.done():
            self.abandon()
            task = self._learning[loop] = loop.create_task(self._learn(), name=f"fast-channels {self.label}")
        await asyncio.shield(task)

    def abandon(self) -> None:
        """Let go of what loops were doing that were closed under it."""
        for loop, task in tuple(self._learning.items()):
            if loop.is_closed():
                forget(task)
                self._learning.pop(loop, None)

    async def _learn(self) -> None:
        some = self.some_nodes()
        asked = {asyncio.ensure_future(self._ask(node)): node for node in some}
        asking = set(asked)
        failed: dict[Node, BaseException] = {}
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    error = answer.exception()
                    if error is None:
                        self.take_in(*answer.result())
                        return
                    failed[asked[answer]] = error
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.sleep(FRESH)
        raise self.nobody_says(failed)

    def some_nodes(self) -> list[Node]:
        """Whom to ask who has what. All of them may be dead: others the next time."""
        nodes = list(dict.fromkeys([*self._seeds, *self.nodes, *self._others]))
        return random.sample(nodes, min(ASKED_AT_ONCE, len(nodes)))

    def nobody_says(self, failed: Mapping[Node, BaseException]) -> OSError | ServerRefused:
        """What to say if all that were asked failed; that they refuse, if that will not pass by itself."""
        refusals = [error for error in failed.values() if isinstance(error, ServerRefused)]
        if len(refusals) == len(failed) and not any(map(passes_by_itself, refusals)):
            return ServerRefused(self.label, "; ".join(dict.fromkeys(error.answer for error in refusals)))
        return none_of_them(f"no node of the {self.label} says who has which slot", failed)

    async def _ask(self, node: Node) -> tuple[list[Range], list[Node]]:
        """The ranges of slots, as `node` sees them, and the replicas."""
        endpoint = Endpoint(self._options.at(*node), any_role=True)
        connection = await endpoint.connect(_ignore, _ignore)
        try:
            async with asyncio.timeout(2):
                answer = await connection.execute(b"CLUSTER", b"SLOTS")
        except ReplyError as error:
            raise no_map(endpoint.label, error) from None
        finally:
            connection.close(ConnectionError("the map is read"))
        return read_map(answer, node)

    def take_in(self, ranges: Iterable[Range], replicas: Iterable[Node]) -> None:
        """Know better: what `read_map` read."""
        slots: list[Node | None] = [None] * SLOTS
        for first, last, node in ranges:
            slots[first : last + 1] = [node] * (last + 1 - first)
        self._slots = slots
        self._others = list(replicas)
        self._learned_at = time.monotonic()


class SlotEndpoint(Endpoint):
    """Whichever node has a slot at the time of each connection."""

    asked_at = float("inf")

    async def another_master(self, connection: Connection) -> str | None:
        """None: a node that is cut off from the Cluster says so itself."""
        return None

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot

    @property
    def label(self) -> str:
        """The node, if it is known."""
        node = self._cluster.node_of(self._slot)
        return self._cluster.label if node is None else self._cluster.endpoint(node).label

    async def connect(self, on_push: PushHandler, on_writable: Callable[[], None]) -> Connection:
        """As `Endpoint.connect`; who has the slot is asked for first."""
        await self._cluster.learn()
        node = self._cluster.node_of(self._slot)
        if node is None:
            raise ConnectionError(f"nobody has slot {self._slot} of the {self._cluster.label}")
        return await self._cluster.endpoint(node).connect(on_push, on_writable)


def read_map(answer: Sequence[Any], asked: Node) -> tuple[list[Range], list[Node]]:
    """The ranges and the replicas in what `asked` answers to CLUSTER SLOTS.

    Raises:
        ConnectionError: it knows of no slots: it was never made part of a Cluster, or was taken out.
    """
    if not answer:
        raise ConnectionError(f"{asked[0]}:{asked[1]} knows of no slots")
    ranges = [(first, last, _node(master, asked)) for first, last, master, *_ in answer]
    replicas = [_node(replica, asked) for _, _, _, *replicas in answer for replica in replicas]
    return ranges, list(dict.fromkeys(replicas))


def _node(description: Sequence[Any], asked: Node) -> Node:
    """Host and port of CLUSTER SLOTS; a node that knows no name of itself is the one that was asked."""
    host, port = description[0], description[1]
    return (host.decode() if host not in (None, b"", b"?") else asked[0]), int(port)


def no_map(label: str, error: ReplyError) -> ServerRefused:
    """What to say of a server that will not say who has what."""
    hint = "; without cluster=True it will do" if "cluster support disabled" in str(error) else ""
    return ServerRefused(label, f"{error}{hint}")


def redirection(answer: str, asked: Node) -> Node:
    """Where `MOVED 1234 host:port` leads, or the same with ASK; without a host, it is the one that was asked."""
    host, _, port = answer.split(" ")[2].rpartition(":")
    return host or asked[0], int(port)


def _ignore(*_: object) -> None:
    """Nobody wants to know."""
