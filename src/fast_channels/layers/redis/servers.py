"""The connections of one event loop: which server serves what, and what happens when one comes back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.link import Commands, Link, LinkEvents, Patience
from fast_channels.layers.redis.subscriptions import Gap, Subscriptions
from fast_channels.layers.redis.topology import Shards

__all__ = ["ServerEvents", "Servers"]


def _nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class ServerEvents:
    """What whoever uses the servers is told."""

    on_first_use: Callable[[Link], None] = _nothing
    """A server is about to be used for the first time, or was away."""
    on_back: Callable[[], None] = _nothing
    """A server that was away takes commands again."""
    on_deaf: Callable[[], None] = _nothing
    """A connection with subscriptions is lost."""
    on_gap: Callable[[Gap], None] = _nothing
    """All of them are in force again."""


class Servers(LinkEvents):
    """Servers that share the load, each for a fixed part of all addresses.

    There is one connection for commands to each, and one for subscriptions; they open when they are first used. As
    `LinkEvents` it counts what happens to those for commands.

    Args:
        sharded: whether subscriptions use sharded pub/sub.
    """

    def __init__(
        self, shards: Shards, patience: Patience, counters: Counters, events: ServerEvents, *, sharded: bool = False
    ) -> None:
        self._shards = shards
        self._patience = patience
        self._counters = counters
        self._events = events
        self._sharded = sharded
        self.publish = b"SPUBLISH" if sharded else b"PUBLISH"
        self._links: dict[int, Link] = {}
        self._subscriptions: dict[int, Subscriptions] = {}

    def __repr__(self) -> str:
        return f"<Servers: {', '.join(map(repr, self._links.values())) or 'none used'}>"

    def link_to(self, address: bytes) -> Link:
        """The link for commands to the server of `address`."""
        return self._link(self._shards.place_of(address))

    def links_with(self, address: bytes) -> list[Link]:
        """The links to every server that has something like `address`: all of them."""
        return [self._link(shard) for shard in range(len(self._shards))]

    async def all_links(self) -> list[Link]:
        """The links to all servers."""
        return [self._link(shard) for shard in range(len(self._shards))]

    def listeners(self) -> list[Subscriptions]:
        """The connections that listen to something."""
        return [each for each in self._subscriptions.values() if len(each)]

    def link_for(self, link: Commands, key: bytes) -> Commands:
        """The link for a key that was found over `link`: the same one."""
        return link

    def reading_link(self, address: bytes, events: LinkEvents) -> Link:
        """A link of its own to the server of `address`, for commands that block."""
        return Link(self._shards.endpoint(self._shards.place_of(address)), events, self._patience, "reading")

    def subscriptions_for(self, address: bytes) -> Subscriptions:
        """Where to subscribe to `address`."""
        shard = self._shards.place_of(address)
        subscriptions = self._subscriptions.get(shard)
        if subscriptions is None:
            endpoint, events = self._shards.endpoint(shard), self._events
            subscriptions = self._subscriptions[shard] = Subscriptions(
                endpoint, self._patience, events.on_deaf, events.on_gap, sharded=self._sharded
            )
        return subscriptions

    def _link(self, shard: int) -> Link:
        link = self._links.get(shard)
        if link is None:
            link = self._links[shard] = Link(self._shards.endpoint(shard), self, self._patience, "sending")
            self._events.on_first_use(link)
        return link

    # LinkEvents

    def on_down(self, reason: BaseException) -> None:
        self._counters.disconnections += 1

    def on_up(self, outage: float) -> None:
        self._counters.reconnections += 1
        self._events.on_back()
        for link in tuple(self._links.values()):
            self._events.on_first_use(link)

    # Life

    async def close(self) -> None:
        """End all connections. Idempotent; they open again when they are used."""
        links, self._links = self._links, {}
        subscriptions, self._subscriptions = self._subscriptions, {}
        closing = [*(link.close() for link in links.values()), *(each.close() for each in subscriptions.values())]
        await asyncio.gather(*closing)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for link in (*self._links.values(), *(each.link for each in self._subscriptions.values())):
            link.abandon()
        self._links.clear()
        self._subscriptions.clear()
