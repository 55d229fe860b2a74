"""The connections of one event loop to a Redis Cluster."""

import asyncio
from dataclasses import replace
from typing import Final, TypeAlias

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.cluster import Cluster, Node, SlotEndpoint
from fast_channels.layers.redis.cluster_links import SlotLink
from fast_channels.layers.redis.cluster_subscriptions import ClusterSubscriptions
from fast_channels.layers.redis.link import Link, LinkEvents, Patience
from fast_channels.layers.redis.servers import ServerEvents, Servers
from fast_channels.layers.redis.topology import Shards

__all__ = ["AnyServers", "ClusterServers", "Topology", "servers_of"]

MOMENT: Final = 0.5
"""Seconds that a command waits for one node, before it is asked who has the slot now."""


class ClusterServers(LinkEvents):
    """As `Servers`, over the nodes of a Cluster: there is one connection for commands to each that is needed.

    As `LinkEvents` it counts what happens to those for commands.
    """

    publish = b"SPUBLISH"
    """The command that reaches those who subscribe."""

    def __init__(self, cluster: Cluster, patience: Patience, counters: Counters, events: ServerEvents) -> None:
        self._cluster = cluster
        self._patience = patience
        self._counters = counters
        self._events = events
        self._nodes: dict[Node, Link] = {}
        self._slots: dict[int, SlotLink] = {}
        self._subscriptions: ClusterSubscriptions | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<ClusterServers: {', '.join(map(repr, self._nodes.values())) or 'none used'}>"

    def link_to(self, address: bytes) -> SlotLink:
        """The link for commands to whichever node has the slot of `address`."""
        slot = self._cluster.slot_of(address)
        link = self._slots.get(slot)
        if link is None:
            link = self._slots[slot] = SlotLink(self._cluster, slot, self._node, self._is_open, self._patience)
            self._closed = False
        return link

    def links_with(self, address: bytes) -> list[SlotLink]:
        """The links to every server that has something like `address`: in a Cluster, one."""
        return [self.link_to(address)]

    async def all_links(self) -> list[Link]:
        """The links to all masters.

        Raises:
            ConnectionError: no node says which there are.
        """
        await self._cluster.learn()
        return [self._node(node) for node in self._cluster.nodes]

    def reading_link(self, address: bytes, events: LinkEvents) -> Link:
        """A link of its own to whichever node has the slot of `address`, for commands that block."""
        return Link(SlotEndpoint(self._cluster, self._cluster.slot_of(address)), events, self._patience, "reading")

    def subscriptions_for(self, address: bytes) -> ClusterSubscriptions:
        """Where to subscribe to `address`."""
        if self._subscriptions is None:
            events = self._events
            self._subscriptions = ClusterSubscriptions(self._cluster, self._patience, events.on_deaf, events.on_gap)
        return self._subscriptions

    def _node(self, node: Node) -> Link:
        link = self._nodes.get(node)
        if link is None:
            patience = replace(self._patience, send=min(MOMENT, self._patience.send))
            link = self._nodes[node] = Link(self._cluster.endpoint(node), self, patience, "sending")
            self._events.on_first_use(link)
        return link

    def _is_open(self) -> bool:
        """False once it is closed, and when the loop ends and has cancelled what keeps connections."""
        return not self._closed and (not self._nodes or any(link.is_started for link in self._nodes.values()))

    # LinkEvents

    def on_down(self, reason: BaseException) -> None:
        self._counters.disconnections += 1

    def on_up(self, outage: float) -> None:
        self._counters.reconnections += 1
        self._events.on_back()

    # Life

    async def close(self) -> None:
        """End all connections. Idempotent; they open again when they are used."""
        self._closed = True
        nodes, self._nodes = self._nodes, {}
        subscriptions, self._subscriptions = self._subscriptions, None
        self._slots.clear()
        closing = [link.close() for link in nodes.values()]
        if subscriptions is not None:
            closing.append(subscriptions.close())
        await asyncio.gather(*closing)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for link in self._nodes.values():
            link.abandon()
        if self._subscriptions is not None:
            self._subscriptions.abandon()
        self._nodes.clear()
        self._slots.clear()
        self._subscriptions = None


Topology: TypeAlias = Shards | Cluster

AnyServers: TypeAlias = Servers | ClusterServers


def servers_of(
    topology: Topology, patience: Patience, counters: Counters, events: ServerEvents, *, sharded: bool = False
) -> AnyServers:
    """The connections of the running event loop to the servers of a layer; a Cluster's pub/sub is always sharded."""
    if isinstance(topology, Cluster):
        return ClusterServers(topology, patience, counters, events)
    return Servers(topology, patience, counters, events, sharded=sharded)
