"""The connections for commands of one event loop to the nodes of a Cluster."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Final

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError, ServerUnreachable
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.cluster import Cluster, Node
from fast_channels.layers.redis.cluster_links import ASKING
from fast_channels.layers.redis.link import Link, LinkEvents, Patience, forget
from fast_channels.layers.redis.servers import ServerEvents

__all__ = ["NodeLinks"]

MOMENT: Final = 0.5
"""Seconds that a command waits for one node, before it is asked who has the slot now."""

TIDY_AFTER: Final = 2.0
"""Seconds after which it is looked whether a node that is away, or is used for the first time, is still a master."""


class NodeLinks(LinkEvents):
    """One link to each node that was needed, for as long as it is a master of the Cluster.

    As `LinkEvents` it counts what happens to them.
    """

    def __init__(self, cluster: Cluster, patience: Patience, counters: Counters, events: ServerEvents) -> None:
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._patience = patience
        self._counters = counters
        self._events = events
        self._links: dict[Node, Link] = {}
        self._tidying: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<NodeLinks: {', '.join(map(repr, self._links.values())) or 'none used'}>"

    def __len__(self) -> int:
        return len(self._links)

    @property
    def is_open(self) -> bool:
        """False once they are closed, and when the loop ends and has cancelled what keeps connections."""
        return not self._closed and (not self._links or any(link.is_started for link in self._links.values()))

    def open(self) -> None:
        """They are used again."""
        self._closed = False

    def find(self, node: Node) -> Link | None:
        """The link to a node, if there is one."""
        return self._links.get(node)

    def to(self, node: Node) -> Link:
        """The link to a node."""
        link = self._links.get(node)
        if link is None:
            patience = replace(self._patience, send=min(MOMENT, self._patience.send))
            link = self._links[node] = Link(self._cluster.endpoint(node), self, patience, "sending")
            self._tidy_later()
            self._events.on_first_use(link)
        return link

    async def all(self) -> list[Link]:
        """The links to all masters, connected but for those that are away.

        Raises:
            ServerUnreachable: no node says which there are.
            ServerRefused: all refuse to.
        """
        try:
            await self._cluster.learn()
        except OSError as error:
            raise ServerUnreachable(self._cluster.label, self._patience.send, error) from None
        links = [self.to(node) for node in self._cluster.nodes]
        await asyncio.gather(*map(self._connected, links))
        return links

    async def _connected(self, link: Link) -> None:
        """Wait until a node answers: a link waits for its server only a moment, which a connection may outlast."""
        deadline = self._loop.time() + self._patience.send
        while self._loop.time() < deadline:
            with suppress(ConnectionError, ReplyError):
                await link.submit(ASKING)
            if link.connection is not None:
                return

    # Tidying up

    def _tidy_later(self) -> None:
        if self._tidying is None and not self._closed:
            self._tidying = self._loop.call_later(TIDY_AFTER, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        self._begin()

    def _begin(self) -> None:
        task = self._loop.create_task(self._look_around(), name=f"fast-channels {self._cluster.label}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _look_around(self) -> None:
        """Close links to nodes that are no masters any more. What failed at one of them is restored at another."""
        if any(link.connection is None for link in self._links.values()):
            with suppress(FastChannelsError, OSError):
                await self._cluster.learn()
        masters = set(self._cluster.nodes)
        gone = [node for node in self._links if node not in masters] if masters else []
        replaced = sum(self._links[node].connection is None for node in gone)
        await asyncio.gather(*(self._let_go(self._links.pop(node)) for node in gone))
        if replaced:
            self._counters.reconnections += replaced
            self._events.on_back()
        if any(link.connection is None for link in self._links.values()):
            self._tidy_later()

    async def _let_go(self, link: Link) -> None:
        if link.connection is not None:
            with suppress(ConnectionError, ReplyError):
                await link.submit(ASKING)  # what was sent before is answered then
        await link.close()

    # LinkEvents

    def on_down(self, reason: BaseException) -> None:
        self._counters.disconnections += 1
        self._tidy_later()

    def on_up(self, outage: float) -> None:
        self._counters.reconnections += 1
        self._events.on_back()

    # Life

    async def close(self) -> None:
        """End all connections. Idempotent; they open again when they are used."""
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        links, self._links = self._links, {}
        for task in self._work:
            task.cancel()
        await asyncio.gather(*(link.close() for link in links.values()), *self._work, return_exceptions=True)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for link in self._links.values():
            link.abandon()
        for task in self._work:
            forget(task)
        self._links.clear()
