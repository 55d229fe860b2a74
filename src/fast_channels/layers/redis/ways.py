"""From the name of a channel or a group to where its messages go."""

import itertools
from typing import Final, NamedTuple

from fast_channels import names
from fast_channels.layers.redis.cluster_servers import AnyServers
from fast_channels.layers.redis.destinations import (
    Destination,
    before_payload,
    destination_of,
    inbox_destination,
    read_answer,
)
from fast_channels.layers.redis.durability import Durability
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.outbox import Argument, Outbox, ReplicatedOutbox
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["GroupOutlet", "Outlet", "Ways"]

OUTLETS: Final = 10_000
"""Names whose way is remembered; then those are forgotten that nothing is on its way to."""


class Outlet(NamedTuple):
    """The way to a channel."""

    outbox: Outbox
    before: tuple[Argument, ...]
    """What stands before the payload."""
    context: bytes
    """What a message is encrypted for."""
    capacity: int


class GroupOutlet(NamedTuple):
    """The way to a group."""

    name: str
    link: Commands
    key: bytes
    """Of its members; and what a message is encrypted for."""
    head: bytes


class Ways:
    """The outboxes of one event loop, and which channel or group uses which.

    Args:
        client: whose batches the servers recognise when they come again.
        durability: waits for replicas to have what is sent; None if nobody does.
    """

    def __init__(
        self, client: str, wiring: QueueWiring, servers: AnyServers, durability: Durability | None = None
    ) -> None:
        self._client = client
        self._wiring = wiring
        self._servers = servers
        self._durability = durability
        self._outboxes: dict[str, Outbox] = {}
        self._outlets: dict[str, Outlet] = {}
        self._group_outlets: dict[str, GroupOutlet] = {}
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<Ways of {self._client}: {len(self._outboxes)} outboxes>"

    def outlet(self, channel: str) -> Outlet:
        """Where messages for `channel` go.

        Raises:
            InvalidNameError: that is no channel's name.
        """
        outlet = self._outlets.get(channel) if isinstance(channel, str) else None
        return outlet or self._new_outlet(channel)

    def _new_outlet(self, channel: str) -> Outlet:
        names.check_channel_name(channel)
        wiring = self._wiring
        capacity, context = wiring.get_capacity(channel), wiring.keys.channel_context(channel)
        before = before_payload(channel, capacity, wiring.expiry)
        outlet = Outlet(self._outbox_to(destination_of(wiring, channel)), before, context, capacity)
        if len(self._outlets) >= OUTLETS:
            self._outlets.clear()
        self._outlets[channel] = outlet
        return outlet

    def group_outlet(self, group: str) -> GroupOutlet:
        """Where messages for `group` go.

        Raises:
            InvalidNameError: that is no group's name.
        """
        outlet = self._group_outlets.get(group) if isinstance(group, str) else None
        if outlet is None:
            names.check_group_name(group)
            key = self._wiring.keys.group(group)
            outlet = GroupOutlet(group, self._servers.link_to(key), key, pack_head("g", self._wiring.expiry, group))
            if len(self._group_outlets) >= OUTLETS:
                self._group_outlets.clear()
            self._group_outlets[group] = outlet
        return outlet

    def to_inbox(self, client: str) -> Outbox:
        """The outbox to the inbox of a client."""
        return self._outboxes.get(f"i{client}") or self._outbox_to(inbox_destination(self._wiring, client))

    def _outbox_to(self, destination: Destination) -> Outbox:
        outbox = self._outboxes.get(destination.name)
        if outbox is not None:
            return outbox
        if len(self._outboxes) >= OUTLETS:
            self._outboxes = {name: outbox for name, outbox in self._outboxes.items() if not outbox.idle}
            self._outlets.clear()
        keys = destination.keys_for(self._wiring.keys, self._client)
        link, patience = self._servers.link_to(keys[0]), self._wiring.patience
        what = (link, patience, destination.script, keys, destination.arguments, self._numbers, self._without_expired)
        outbox = self._outboxes[destination.name] = (
            Outbox(*what) if self._durability is None else ReplicatedOutbox(self._durability, *what)
        )
        return outbox

    def _without_expired(self, answer: bytes) -> str:
        expired, results = read_answer(answer)
        if expired:
            self._wiring.counters.drop("expired", expired)
        return results

    def forget(self, channel: str) -> None:
        """Forget the way to a channel that is no more: names of channels do not come again."""
        self._outlets.pop(channel, None)

    def clear(self) -> None:
        """Forget all ways: their connections are gone."""
        self._outboxes.clear()
        self._outlets.clear()
        self._group_outlets.clear()
