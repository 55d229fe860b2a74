"""Subscriptions in a Redis Cluster: each at the node that has its slot, and after it when the slot moves."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final

from fast_channels.exceptions import FastChannelsError, ServerUnreachable
from fast_channels.layers.redis.cluster import Cluster, Node
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Gap, Route, Subscriptions

__all__ = ["ClusterSubscriptions"]

logger = logging.getLogger("fast_channels.redis")

LOOK_AGAIN: Final = 0.5
"""Seconds between two looks at who has which slot, while a node is away."""


class ClusterSubscriptions:
    """As `Subscriptions`, over all nodes of a Cluster.

    Each address is subscribed where its slot is. When the slot moves, or its node is replaced by another, the address
    follows, and what was published in between is reported as a gap.
    """

    def __init__(
        self, cluster: Cluster, patience: Patience, on_down: Callable[[], None], on_gap: Callable[[Gap], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._patience = patience
        self._on_down = on_down
        self._on_gap = on_gap
        self._wanted: dict[bytes, Route] = {}
        self._where: dict[bytes, Node] = {}
        self._nodes: dict[Node, Subscriptions] = {}
        self._lost: dict[bytes, float] = {}  # since when an address is not heard where it was
        self._follower: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ClusterSubscriptions: {len(self._wanted)} at {len(self._nodes)} nodes>"

    def __len__(self) -> int:
        return len(self._wanted)

    async def subscribe(self, address: bytes, route: Route) -> None:
        """As `Subscriptions.subscribe`."""
        self.want(address, route)
        try:
            async with asyncio.timeout(self._patience.send):
                await self._confirmed(address)
        except TimeoutError:
            raise ServerUnreachable(self._cluster.label, self._patience.send, self._trouble_of(address)) from None

    async def _confirmed(self, address: bytes) -> None:
        """Return when the node that has the slot has confirmed the address, wherever it moves meanwhile."""
        while address in self._wanted:
            node = self._where.get(address)
            if node is None:
                await asyncio.sleep(LOOK_AGAIN / 10)  # it is being found out
                continue
            with suppress(ServerUnreachable):  # somebody else may have the slot soon
                await self._nodes[node].subscribe(address, self._wanted[address])
                if self._where.get(address) == node:
                    return

    def want(self, address: bytes, route: Route) -> None:
        """The same without waiting: it is subscribed as soon as there is a server."""
        if address not in self._wanted:
            self._wanted[address] = route
            self._place(address)

    def unsubscribe(self, address: bytes) -> None:
        """As `Subscriptions.unsubscribe`."""
        self._wanted.pop(address, None)
        self._lost.pop(address, None)
        self._leave(address)

    def _trouble_of(self, address: bytes) -> BaseException | str | None:
        node = self._where.get(address)
        return self._nodes[node].link.trouble if node in self._nodes else "nobody has its slot"

    # Where it is

    def _place(self, address: bytes) -> None:
        """Subscribe where the slot is, as far as that is known."""
        node = self._cluster.node_of(self._cluster.slot_of(address))
        if node is None:
            self._follow()
        elif node != self._where.get(address):
            self._leave(address)
            self._where[address] = node
            self._at(node).want(address, self._wanted[address])

    def _leave(self, address: bytes) -> None:
        node = self._where.pop(address, None)
        if node in self._nodes:
            self._nodes[node].unsubscribe(address)

    def _at(self, node: Node) -> Subscriptions:
        subscriptions = self._nodes.get(node)
        if subscriptions is None:
            subscriptions = self._nodes[node] = Subscriptions(
                self._cluster.endpoint(node),
                self._patience,
                self._node_is_down,
                self._on_gap,
                sharded=True,
                slot_of=self._cluster.slot_of,
                on_elsewhere=self._is_elsewhere,
            )
        return subscriptions

    # Following

    def _node_is_down(self) -> None:
        self._on_down()
        self._follow()

    def _is_elsewhere(self, address: bytes) -> None:
        """The node says that it has not got the slot (any more)."""
        if address in self._wanted and address not in self._lost:
            if not self._lost:
                self._on_down()
            self._lost[address] = self._loop.time()
        self._follow()

    def _follow(self) -> None:
        if self._follower is None or self._follower.done():
            self._follower = self._loop.create_task(self._keep_following(), name="fast-channels slots")

    async def _keep_following(self) -> None:
        while self._is_behind:
            try:
                await self._cluster.learn()
            except (FastChannelsError, OSError) as error:
                logger.debug("%s", error)
            else:
                self._go_along()
            await asyncio.sleep(LOOK_AGAIN)

    @property
    def _is_behind(self) -> bool:
        """Whether an address may be somewhere else than it is heard."""
        placed = len(self._where) == len(self._wanted)
        return bool(self._lost) or not placed or any(len(n) and n.link.connection is None for n in self._nodes.values())

    def _go_along(self) -> None:
        """Subscribe elsewhere what has moved."""
        since = self._loop.time()
        moved: list[bytes] = []
        for address in self._wanted:
            before = self._where.get(address)
            self._place(address)
            if before is not None and before != self._where.get(address):
                since = min(since, self._lost.get(address, since), self._nodes[before].link.heard_at)
                moved.append(address)
                self._lost.pop(address, None)
            elif address in self._lost and before is not None:
                self._nodes[before].try_again(address)  # it came back, or the others do not know yet
        if moved:
            self._begin(self._report(moved, since))
        for node, subscriptions in tuple(self._nodes.items()):
            if not len(subscriptions):
                del self._nodes[node]
                self._begin(subscriptions.close())

    async def _report(self, moved: list[bytes], since: float) -> None:
        for address in moved:
            await self._confirmed(address)
        self._on_gap(Gap(self._cluster.label, self._loop.time() - since, len(moved), "their slots have moved"))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # Life

    async def close(self) -> None:
        """As `Subscriptions.close`."""
        for task in (*self._work, *([self._follower] if self._follower else [])):
            task.cancel()
        self._follower = None
        nodes, self._nodes = self._nodes, {}
        self._wanted.clear()
        self._where.clear()
        self._lost.clear()
        await asyncio.gather(*(subscriptions.close() for subscriptions in nodes.values()))

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for subscriptions in self._nodes.values():
            subscriptions.link.abandon()
        self._nodes.clear()
