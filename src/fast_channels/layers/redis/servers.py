"""The connections of one event loop of the queue: which server, and what happens when it comes back."""

import asyncio
from collections.abc import Callable

from fast_channels.layers.redis.checks import warn_about
from fast_channels.layers.redis.link import Link, LinkEvents
from fast_channels.layers.redis.pulse import Pulse
from fast_channels.layers.redis.subscriptions import Gap, Subscriptions
from fast_channels.layers.redis.topology import shard_of
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["Servers"]


class Servers(LinkEvents):
    """A connection for commands to each server, and one for wake-ups where they are needed; opened when first used.

    As `LinkEvents` it counts what happens to those for commands.

    Args:
        pulse: looks at each server when it is first used.
        on_back: called when a server that was away is back.
        on_missed: called when wake-ups may have been missed.
    """

    def __init__(
        self, wiring: QueueWiring, pulse: Pulse, on_back: Callable[[], None], on_missed: Callable[[], None]
    ) -> None:
        self._wiring = wiring
        self._pulse = pulse
        self._on_back = on_back
        self._on_missed = on_missed
        self._links: dict[int, Link] = {}
        self._subscriptions: dict[int, Subscriptions] = {}

    def __repr__(self) -> str:
        return f"<Servers: {', '.join(map(repr, self._links.values())) or 'none used'}>"

    def link_to(self, key: bytes) -> Link:
        """The link for commands to the server of `key`."""
        return self._link(self._shard(key))

    def links(self) -> list[Link]:
        """The links to all servers."""
        return [self._link(shard) for shard in range(len(self._wiring.endpoints))]

    def reading_link(self, key: bytes, events: LinkEvents) -> Link:
        """A link of its own to the server of `key`, for commands that block."""
        return Link(self._wiring.endpoints[self._shard(key)], events, self._wiring.patience, "reading")

    def subscriptions_for(self, key: bytes) -> Subscriptions:
        """Where to listen for the wake-ups of the shared channel that `key` belongs to."""
        shard = self._shard(key)
        subscriptions = self._subscriptions.get(shard)
        if subscriptions is None:
            endpoint = self._wiring.endpoints[shard]
            subscriptions = Subscriptions(endpoint, self._wiring.patience, lambda: None, self._missed)
            self._subscriptions[shard] = subscriptions
        return subscriptions

    def _missed(self, gap: Gap) -> None:
        self._on_missed()

    def _shard(self, key: bytes) -> int:
        return shard_of(key.rpartition(b"|")[0], len(self._wiring.endpoints))

    def _link(self, shard: int) -> Link:
        link = self._links.get(shard)
        if link is None:
            link = self._links[shard] = Link(self._wiring.endpoints[shard], self, self._wiring.patience, "sending")
            self._check(link)
        return link

    def _check(self, link: Link) -> None:
        """Have a look at a server that the layer did not use before."""
        if link.label not in self._wiring.checked:
            self._wiring.checked.add(link.label)
            self._pulse.begin(("check", link.label), self._look_at(link))

    async def _look_at(self, link: Link) -> None:
        try:
            await warn_about(link)
        except BaseException:
            self._wiring.checked.discard(link.label)  # when it is back
            raise

    # LinkEvents

    def on_down(self, reason: BaseException) -> None:
        self._wiring.counters.disconnections += 1

    def on_up(self, outage: float) -> None:
        self._wiring.counters.reconnections += 1
        self._on_back()
        for link in tuple(self._links.values()):
            self._check(link)

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
