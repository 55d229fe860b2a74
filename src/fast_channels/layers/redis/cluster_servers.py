"""The connections of one event loop to a Redis Cluster."""

import asyncio
from typing import TypeAlias

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.cluster import Cluster, SlotEndpoint
from fast_channels.layers.redis.cluster_links import SlotLink
from fast_channels.layers.redis.cluster_nodes import NodeLinks
from fast_channels.layers.redis.cluster_subscriptions import ClusterSubscriptions
from fast_channels.layers.redis.link import Commands, Link, LinkEvents, Patience
from fast_channels.layers.redis.servers import ServerEvents, Servers
from fast_channels.layers.redis.subscriptions import Subscriptions
from fast_channels.layers.redis.topology import Shards

__all__ = ["AnyServers", "ClusterServers", "Topology", "servers_of"]


class ClusterServers:
    """As `Servers`, over the nodes of a Cluster: there is one connection for commands to each that is needed."""

    publish = b"SPUBLISH"
    """The command that reaches those who subscribe."""

    def __init__(self, cluster: Cluster, patience: Patience, counters: Counters, events: ServerEvents) -> None:
        self._cluster = cluster
        self._patience = patience
        self._events = events
        self._nodes = NodeLinks(cluster, patience, counters, events)
        self._slots: dict[int, SlotLink] = {}
        self._subscriptions: ClusterSubscriptions | None = None

    def __repr__(self) -> str:
        return f"<ClusterServers: {self._nodes!r}, {self._subscriptions!r}>"

    def link_to(self, address: bytes) -> SlotLink:
        """The link for commands to whichever node has the slot of `address`."""
        slot = self._cluster.slot_of(address)
        link = self._slots.get(slot)
        if link is None:
            link = self._slots[slot] = SlotLink(self._cluster, slot, self._nodes, self._patience)
            self._nodes.open()
        return link

    def links_with(self, address: bytes) -> list[SlotLink]:
        """The links to every server that has something like `address`: in a Cluster, one."""
        return [self.link_to(address)]

    async def all_links(self) -> list[Link]:
        """The links to all masters.

        Raises:
            ServerUnreachable: no node says which there are.
            ServerRefused: all refuse to.
        """
        self._nodes.open()
        return await self._nodes.all()

    def listeners(self) -> list[Subscriptions]:
        """The connections that listen to something."""
        return [] if self._subscriptions is None else self._subscriptions.listeners()

    def link_for(self, link: Commands, key: bytes) -> Commands:
        """The link for a key that was found over `link`: its slot may have moved since."""
        return self.link_to(key)

    def reading_link(self, address: bytes, events: LinkEvents) -> Link:
        """A link of its own to whichever node has the slot of `address`, for commands that block."""
        return Link(SlotEndpoint(self._cluster, self._cluster.slot_of(address)), events, self._patience, "reading")

    def subscriptions_for(self, address: bytes) -> ClusterSubscriptions:
        """Where to subscribe to `address`."""
        if self._subscriptions is None:
            events = self._events
            self._subscriptions = ClusterSubscriptions(self._cluster, self._patience, events.on_deaf, events.on_gap)
        return self._subscriptions

    # Life

    async def close(self) -> None:
        """End all connections. Idempotent; they open again when they are used."""
        subscriptions, self._subscriptions = self._subscriptions, None
        slots, self._slots = self._slots, {}
        for link in slots.values():
            link.close()
        closing = [self._nodes.close()]
        if subscriptions is not None:
            closing.append(subscriptions.close())
        await asyncio.gather(*closing)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        self._nodes.abandon()
        for link in self._slots.values():
            link.abandon()
        self._cluster.abandon()
        if self._subscriptions is not None:
            self._subscriptions.abandon()
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
