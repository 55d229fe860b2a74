"""Subscriptions in a Redis Cluster: each at the node that has its slot, and after it when the slot moves."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Final

from fast_channels.exceptions import FastChannelsError, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.cluster import Cluster, Node, redirection
from fast_channels.layers.redis.link import Patience, forget
from fast_channels.layers.redis.subscriptions import TRY_AGAIN, Gap, Route, Subscriptions

__all__ = ["ClusterSubscriptions"]

logger = logging.getLogger("fast_channels.redis")

LOOK_AGAIN: Final = 0.5
"""Seconds between two looks at who has which slot, while a node is away, or they do not agree."""

LOOK_LATER: Final = 5.0
PATIENT_AFTER: Final = 60
"""The same after so many looks: a node that is away for so long is not about to be replaced."""

HOPS: Final = 4
"""How often an address goes at once where it is sent, until it waits for the next look: nodes may not agree yet."""


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
        self._in_force: set[bytes] = set()  # they were heard, or somebody relies on it
        self._misplaced: set[bytes] = set()  # their nodes have not got them
        self._lost: dict[bytes, float] = {}  # since when they are not heard, until that is reported as over
        self._reported: set[bytes] = set()  # those of them that a report waits for
        self._hops: Counter[bytes] = Counter()
        self._is_hopping = False
        self._follower: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None  # why no node says who has what
        self._work: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ClusterSubscriptions: {len(self._wanted)} at {len(self._nodes)} nodes>"

    def __len__(self) -> int:
        return len(self._wanted)

    async def subscribe(self, address: bytes, route: Route) -> None:
        """As `Subscriptions.subscribe`."""
        if address not in self._wanted:
            self._wanted[address] = route
            self._place(address)
        if self._is_behind:
            self._follow()  # also again: some programs cancel every task there is
        try:
            async with asyncio.timeout(self._patience.send):
                await self._confirmed(address)
            self._in_force.add(address)
        except TimeoutError:
            raise self._unreachable(address) from None
        except ServerRefused:
            self.unsubscribe(address)
            raise

    async def _confirmed(self, address: bytes) -> None:
        """Return when the node that has the slot has confirmed the address, wherever it moves meanwhile."""
        known = self._trouble
        while address in self._wanted:
            node = self._where.get(address)
            if node is not None and address not in self._misplaced:
                with suppress(ServerUnreachable):  # somebody else may have the slot soon
                    await self._at(node).subscribe(address, self._wanted[address])
                    if self._is_confirmed(address):
                        return
                    continue  # it left that node meanwhile
            elif isinstance(self._trouble, ServerRefused) and self._trouble is not known:
                raise self._trouble
            await asyncio.sleep(LOOK_AGAIN / 10)  # it is being found out
        if self._closed:
            raise ServerUnreachable(self._cluster.label, 0.0, "the layer was closed")

    def _is_confirmed(self, address: bytes) -> bool:
        node = self._where.get(address)
        return node is not None and address not in self._misplaced and self._at(node).is_confirmed(address)

    def want(self, address: bytes, route: Route) -> None:
        """The same without waiting: it is subscribed as soon as there is a server."""
        self._in_force.add(address)
        if address not in self._wanted:
            self._wanted[address] = route
            self._place(address)

    def unsubscribe(self, address: bytes) -> None:
        """As `Subscriptions.unsubscribe`."""
        self._wanted.pop(address, None)
        self._misplaced.discard(address)
        self._in_force.discard(address)
        self._leave(address)

    def _unreachable(self, address: bytes) -> ServerUnreachable:
        node = self._where.get(address)
        if node in self._nodes:
            link = self._nodes[node].link
            return ServerUnreachable(link.label, self._patience.send, link.trouble)
        return ServerUnreachable(self._cluster.label, self._patience.send, self._trouble or "nobody has its slot")

    def listeners(self) -> list[Subscriptions]:
        """Those of each node that something is heard at."""
        return [each for each in self._nodes.values() if len(each)]

    # Where it is

    def _place(self, address: bytes) -> None:
        """Subscribe where the slot is, as far as that is known."""
        node = self._cluster.node_of(self._cluster.slot_of(address))
        if node is not None and node != self._where.get(address):
            self._leave(address)
            self._where[address] = node
            self._at(node).want(address, self._wanted[address])
        if node is None or self._at(node).link.connection is None:
            self._follow()

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

    def _is_elsewhere(self, address: bytes, answer: str) -> None:
        """The node of an address has not got the slot (any more), or cannot serve it now."""
        node = self._where.get(address)
        if node is None or address not in self._wanted:
            return
        if answer.startswith("MOVED "):
            self._cluster.moved(self._cluster.slot_of(address), redirection(answer, node))
        else:
            self._cluster.doubt()
        self._misplaced.add(address)
        if address in self._in_force:
            self._lose(address, node)
        self._hops[address] += 1
        if self._hops[address] > HOPS or (answer and not answer.startswith("MOVED ")):
            self._follow()
        elif not self._is_hopping:
            self._is_hopping = True
            self._loop.call_soon(self._hop)

    def _hop(self) -> None:
        self._is_hopping = False
        self._go_along(tuple(self._misplaced))

    def _follow(self) -> None:
        if self._follower is None or self._follower.done():
            self._follower = self._loop.create_task(self._keep_following(), name="fast-channels slots")

    async def _keep_following(self) -> None:
        looks = 0
        while self._is_behind:
            looks += 1
            try:
                await self._cluster.learn()
            except (FastChannelsError, OSError) as error:
                self._trouble = error
                logger.debug("%s", error)
            else:
                self._trouble = None
                self._go_along(tuple(self._wanted))
                self._close_unused()
            await asyncio.sleep(LOOK_AGAIN if looks < PATIENT_AFTER else LOOK_LATER)
            self._hops.clear()

    @property
    def _is_behind(self) -> bool:
        """Whether an address may be somewhere else than it is heard."""
        placed = len(self._where) == len(self._wanted)
        return bool(self._misplaced) or not placed or any(n.link.connection is None for n in self._nodes.values())

    def _go_along(self, addresses: Iterable[bytes]) -> None:
        """Subscribe elsewhere what has moved."""
        moved: list[bytes] = []
        for address in addresses:
            before = self._where.get(address)
            is_misplaced = address in self._misplaced
            if is_misplaced:
                self._misplaced.discard(address)
                self._leave(address)
            self._place(address)
            if before is not None and (is_misplaced or before != self._where.get(address)):
                moved.append(address)
                if address in self._in_force:
                    self._lose(address, before)
        moved = [address for address in moved if address in self._lost and address not in self._reported]
        if moved:
            self._reported.update(moved)
            self._begin(self._report(moved))

    def _close_unused(self) -> None:
        for node, subscriptions in tuple(self._nodes.items()):
            if not len(subscriptions):
                del self._nodes[node]
                self._begin(subscriptions.close())

    def _lose(self, address: bytes, before: Node) -> None:
        """An address is not heard at `before` any more, since the last sign of life from there at the latest."""
        link = self._at(before).link
        if not self._lost and link.connection is not None:  # else that was told when the connection broke
            self._on_down()
        now = self._loop.time()
        self._lost[address] = min(self._lost.get(address, now), link.heard_at, now)

    async def _report(self, moved: list[bytes]) -> None:
        """Tell of a gap when all that has moved is heard again."""
        try:
            for address in moved:
                await self._heard_again(address)
            now = self._loop.time()
            since = min(self._lost.get(address, now) for address in moved)
        finally:
            self._reported.difference_update(moved)
            for address in moved:
                self._lost.pop(address, None)
        self._close_unused()
        self._on_gap(Gap(self._cluster.label, now - since, len(moved), "their slots have moved"))

    async def _heard_again(self, address: bytes) -> None:
        while True:
            try:
                return await self._confirmed(address)
            except ServerRefused as error:
                logger.warning("%s is not heard, and is tried again: %s", address.decode(), error)
                await asyncio.sleep(TRY_AGAIN)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # Life

    async def close(self) -> None:
        """As `Subscriptions.close`."""
        self._closed = True
        tasks = [*self._work, *([self._follower] if self._follower else [])]
        for task in tasks:
            task.cancel()
        nodes, self._nodes = self._nodes, {}
        self._wanted.clear()
        self._where.clear()
        await asyncio.gather(*(subscriptions.close() for subscriptions in nodes.values()))
        await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for subscriptions in self._nodes.values():
            subscriptions.abandon()
        for task in (*self._work, *([self._follower] if self._follower else [])):
            forget(task)
        self._nodes.clear()
