"""A Redis Cluster: which node has which slot, as far as this process knows, and how it learns better."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from hiredis import ReplyError
from redis.crc import key_slot

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.config import Server
from fast_channels.layers.redis.connection import Connection, PushHandler
from fast_channels.layers.redis.topology import Endpoint

__all__ = ["Cluster", "Node", "SlotEndpoint"]

logger = logging.getLogger("fast_channels.redis")

SLOTS: Final = 16384

FRESH: Final = 0.1
"""Seconds for which what a node said is not asked for again."""

ASKED_AT_ONCE: Final = 6
"""Nodes that are asked at a time; the first answer counts."""

Node = tuple[str, int]
"""Host and port of a master."""


class Cluster:
    """The slots of a Cluster. One for all event loops of a layer.

    Args:
        servers: some of its nodes, any of them; the options of the first are those of all nodes.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        for server in servers:
            if server.template.db:
                raise ValueError("a Cluster has one database: take the number out of the URL")
        self._seeds = [(server.host, server.port) for server in servers]
        self._options = servers[0]
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

    def endpoint(self, node: Node) -> Endpoint:
        """How to connect to a node."""
        return Endpoint(self._options.at(*node))

    def moved(self, slot: int, node: Node) -> None:
        """A node says that a slot is elsewhere."""
        self._slots[slot] = node
        self._learned_at = float("-inf")  # and so may be others

    async def learn(self) -> None:
        """Ask the nodes who has what, unless that was done a moment ago.

        Raises:
            ConnectionError: none answers.
        """
        if time.monotonic() - self._learned_at < FRESH:
            return
        loop = asyncio.get_running_loop()
        task = self._learning.get(loop)
        if task is None or task.done():
            self._learning = {other: task for other, task in self._learning.items() if not other.is_closed()}
            task = self._learning[loop] = loop.create_task(self._learn(), name=f"fast-channels {self.label}")
        await asyncio.shield(task)

    async def _learn(self) -> None:
        nodes = list(dict.fromkeys([*self.nodes, *self._seeds]))[:ASKED_AT_ONCE]
        asking = {asyncio.ensure_future(self._ask(node)) for node in nodes}
        reasons: list[str] = []
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    error = answer.exception()
                    if error is None:
                        self._take_in(answer.result())
                        return
                    reasons.append(str(error) or type(error).__name__)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise ConnectionError(f"no node of the {self.label} says who has which slot ({'; '.join(reasons)})")

    async def _ask(self, node: Node) -> list[tuple[int, int, Node]]:
        """The ranges of slots, as `node` sees them."""
        connection = await self.endpoint(node).connect(lambda push: None, lambda: None)
        try:
            async with asyncio.timeout(2):
                answer = await connection.execute(b"CLUSTER", b"SLOTS")
        except ReplyError as error:
            raise ServerRefused(f"{node[0]}:{node[1]}", f"{error} (is it a Cluster? cluster=True says so)") from None
        finally:
            connection.close(ConnectionError("the map is read"))
        ranges = [(first, last, _node(master, node[0])) for first, last, master, *_ in answer]
        if not ranges:
            raise ConnectionError(f"{node[0]}:{node[1]} knows of no slots")
        return ranges

    def _take_in(self, ranges: Iterable[tuple[int, int, Node]]) -> None:
        slots: list[Node | None] = [None] * SLOTS
        for first, last, node in ranges:
            slots[first : last + 1] = [node] * (last + 1 - first)
        self._slots = slots
        self._learned_at = time.monotonic()


class SlotEndpoint(Endpoint):
    """Whichever node has a slot at the time of each connection."""

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


def _node(description: Sequence[Any], asked: str) -> Node:
    """Host and port of CLUSTER SLOTS; a node that knows no name of itself is the one that was asked."""
    host, port = description[0], description[1]
    return (host.decode() if host not in (None, b"", b"?") else asked), int(port)
