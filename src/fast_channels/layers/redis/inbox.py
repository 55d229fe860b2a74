"""What one event loop holds of a pub/sub layer: its channels, its subscriptions and its connections."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec

from fast_channels import names
from fast_channels.layers.local import LocalChannels
from fast_channels.layers.mailbox import Counters, Mailbox, is_worth_a_line
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.cluster_servers import Topology, servers_of
from fast_channels.layers.redis.connection import failure_of, packed
from fast_channels.layers.redis.envelope import (
    MARK,
    Control,
    open_addressed,
    open_envelope,
    pack_control,
    pack_direct,
)
from fast_channels.layers.redis.joins import Joins
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.link import Commands, Link, Patience
from fast_channels.layers.redis.pipelining import Pipeline
from fast_channels.layers.redis.requests import Requests
from fast_channels.layers.redis.servers import ServerEvents
from fast_channels.layers.redis.subscriptions import Gap, Route
from fast_channels.serializers import MsgPackSerializer

__all__ = ["Inbox", "Outlet", "Spot", "Wiring", "publish_all", "spot_of", "spot_of_group"]

logger = logging.getLogger("fast_channels.redis")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all inboxes of a layer share."""

    topology: Topology
    addresses: Addresses
    patience: Patience
    counters: Counters
    control: MsgPackSerializer
    """Encodes control entries, encrypted if the layer's messages are."""
    on_down: Callable[[], None]
    on_gap: Callable[[Gap], None]


OUTLETS = 10_000
"""Names whose way is remembered; then all are forgotten."""


class Outlet(NamedTuple):
    """The way to a channel or a group."""

    link: Commands
    address: bytes
    context: bytes
    """What a message is encrypted for: a receiver elsewhere cannot read it."""
    head: bytes = b""
    """What precedes the payload: the channel, at an address that channels share."""
    command: bytes = b"PUBLISH"

    def publish(self, payload: bytes) -> Coroutine[Any, Any, int]:
        """Publish, and return how many processes heard it."""
        return self.link.call(self.command, self.address, self.head + payload)

    def submit(self, payload: bytes) -> "asyncio.Future[int]":
        """Publish without a coroutine; the future fails as that of `Link.submit` does."""
        return self.link.submit(packed(self.command, self.address, self.head + payload))


async def publish_all(postings: Sequence[tuple[Outlet, bytes]]) -> list[int | Exception]:
    """Publish payloads in their order, and return how many processes heard each, or what `Outlet.publish` raises."""
    async with Pipeline() as pipeline:
        for outlet, payload in postings:
            link = outlet.link
            way = None if isinstance(link, Link) else link  # a Cluster's node may send back some of what it got
            await pipeline.start(link.label, len(payload), partial(outlet.submit, payload), way)
        outcomes = await pipeline.finish()
    return [
        failure_of(outlet.link.label, outcome) if isinstance(outcome, Exception) else outcome
        for (outlet, _), outcome in zip(postings, outcomes, strict=True)
    ]


class Spot(NamedTuple):
    """Where the messages of a channel or a group are published."""

    address: bytes
    context: bytes
    """What a message is encrypted for: a receiver elsewhere cannot read it."""
    head: bytes = b""
    """What precedes the payload: the channel, at an address that channels share."""


def spot_of(addresses: Addresses, channel: str) -> Spot:
    """Where messages for `channel` are published.

    Raises:
        InvalidNameError: that is no channel's name.
    """
    names.check_channel_name(channel)
    if names.is_specific(channel):
        return Spot(addresses.inbox(names.client_of(channel)), channel.encode(), pack_direct(channel, b""))
    address = addresses.shared(channel)
    return Spot(address, address)


def spot_of_group(addresses: Addresses, group: str) -> Spot:
    """Where messages for `group` are published.

    Raises:
        InvalidNameError: that is no group's name.
    """
    names.check_group_name(group)
    address = addresses.group(group)
    return Spot(address, address)


class Inbox:
    """The channels of one event loop, over one subscription for all its specific channels.

    Names come in as channels and groups; addresses are known here and below.
    """

    def __init__(self, client: str, local: LocalChannels, wiring: Wiring) -> None:
        self.loop = asyncio.get_running_loop()
        self.client = client
        self.local = local
        self._wiring = wiring
        self._outlets: dict[str, Outlet] = {}
        self._group_outlets: dict[str, Outlet] = {}
        events = ServerEvents(on_deaf=wiring.on_down, on_gap=wiring.on_gap)
        self.servers = servers_of(wiring.topology, wiring.patience, wiring.counters, events)
        self._joins = Joins(local, self._leave)
        self._requests = Requests(client, self, self._send_control, wiring.patience, wiring.counters)

    @property
    def holds_channels(self) -> bool:
        """Whether there are channels that a later loop may want to take over."""
        return bool(self.local.mailboxes)

    def __repr__(self) -> str:
        return f"<Inbox {self.client}: {self.local!r}>"

    # Sending

    def outlet(self, channel: str) -> Outlet:
        """Where messages for `channel` are published.

        Raises:
            InvalidNameError: that is no channel's name.
        """
        outlet = self._outlets.get(channel) if isinstance(channel, str) else None
        if outlet is None:
            outlet = self._outlet_at(*spot_of(self._wiring.addresses, channel))
            _remember(self._outlets, channel, outlet)
        return outlet

    def group_outlet(self, group: str) -> Outlet:
        """Where messages for `group` are published.

        Raises:
            InvalidNameError: that is no group's name.
        """
        outlet = self._group_outlets.get(group) if isinstance(group, str) else None
        if outlet is None:
            outlet = self._outlet_at(*spot_of_group(self._wiring.addresses, group))
            _remember(self._group_outlets, group, outlet)
        return outlet

    def _outlet_at(self, address: bytes, context: bytes, head: bytes = b"") -> Outlet:
        return Outlet(self.servers.link_to(address), address, context, head, self.servers.publish)

    # Receiving

    async def attend_to(self, channel: str) -> None:
        """Hear what is sent to a channel of this loop: at its own address, or at the one all its client shares."""
        await self._listen(*self._way_to(channel))

    async def join(self, group: str, channel: str) -> None:
        """Make a channel of this loop a member of `group`; a channel that is gone joins nothing."""
        await self._joins.join(group, channel, partial(self._listen, *self._way_to_group(group)))

    async def leave(self, group: str, channel: str) -> None:
        """Take a channel of this loop out of `group`."""
        self._leave(group, channel)

    def _leave(self, group: str, channel: str) -> None:
        if self.local.leave(group, channel):
            self._ignore(self._wiring.addresses.group(group))

    def release(self, channel: str) -> None:
        """Forget a channel of this loop, and stop hearing what nobody here wants any more."""
        for group in self.local.release(channel):
            self._ignore(self._wiring.addresses.group(group))
        self._outlets.pop(channel, None)
        if not names.is_specific(channel):
            self._ignore(self._wiring.addresses.shared(channel))

    def flush(self) -> None:
        """Drop the messages and leave the groups of all channels of this loop."""
        for group in tuple(self.local.groups):
            self._ignore(self._wiring.addresses.group(group))
        self.local.clear()

    async def _listen(self, address: bytes, route: Route) -> None:
        await self.servers.subscriptions_for(address).subscribe(address, route)

    def _want(self, address: bytes, route: Route) -> None:
        self.servers.subscriptions_for(address).want(address, route)

    def _ignore(self, address: bytes) -> None:
        self.servers.subscriptions_for(address).unsubscribe(address)

    # What arrives: from an address to the mailboxes

    def _way_to(self, channel: str) -> tuple[bytes, Route]:
        if names.is_specific(channel):
            return self._way_to_inbox(names.client_of(channel))
        address = self._wiring.addresses.shared(channel)
        return address, partial(self._shared, channel, address)

    def _way_to_inbox(self, client: str) -> tuple[bytes, Route]:
        address = self._wiring.addresses.inbox(client)
        return address, partial(self._direct, address)

    def _way_to_group(self, group: str) -> tuple[bytes, Route]:
        address = self._wiring.addresses.group(group)
        return address, partial(self._group, group, address)

    def _group(self, group: str, address: bytes, payload: bytes) -> None:
        if payload.startswith(MARK):
            self._addressed(group, payload)
        else:
            self.local.deliver_group(group, (address, payload))

    def _addressed(self, group: str, data: bytes) -> None:
        """What names its audience: the copy for one of its groups.

        Who is in several of them gets the copy of the first one alone. All copies are looked at in the same way: a
        membership that the server has not confirmed counts for none of them.
        """
        try:
            text, payload = open_addressed(data)
            audience = Audience.unpacked(text)
            earlier = frozenset(audience.groups[: audience.groups.index(group)])
        except ValueError as error:  # whoever can publish can publish anything
            self._undecodable(f"to group {group}", error)
            return

        def gets(mailbox: Mailbox) -> bool:
            groups = self._joins.confirmed(mailbox)
            return group in groups and mailbox.channel not in audience.excluded and groups.isdisjoint(earlier)

        self.local.deliver_group(group, (self._wiring.addresses.audience_context(text), payload), gets)

    def _shared(self, channel: str, address: bytes, payload: bytes) -> None:
        self.local.deliver(channel, (address, payload))

    def _direct(self, address: bytes, data: bytes) -> None:
        try:
            channel, payload = open_envelope(data)
            if channel:
                self.local.deliver(channel.decode("ascii"), (channel, payload))
            else:
                self._control(address, payload)
        except Exception as error:  # whoever can publish can publish anything; the reader goes on
            self._undecodable(f"in inbox {self.client}", error)

    def _undecodable(self, where: str, error: Exception) -> None:
        if is_worth_a_line(self._wiring.counters.drop("undecodable")):
            logger.warning("something %s is no message: %r", where, error)

    # Channels of other processes

    async def request(self, op: str, group: str, channel: str) -> None:
        """Ask the owner of `channel`, another process, to make it join or leave `group`. See `Requests.ask`."""
        await self._listen(*self._way_to_inbox(self.client))
        await self._requests.ask(op, group, channel)

    async def probe(self) -> None:
        """Send something to the inbox of this loop, through its server; returns when it has arrived."""
        await self._listen(*self._way_to_inbox(self.client))
        await self._requests.probe()

    async def _send_control(self, client: str, control: Control) -> int:
        address = self._wiring.addresses.inbox(client)
        payload = pack_control(self._wiring.control.serialize(control, address))
        return await self._outlet_at(address, address).publish(payload)

    def _control(self, address: bytes, payload: bytes) -> None:
        self._requests.handle(msgspec.convert(self._wiring.control.deserialize(payload, address), Control))

    # Life

    async def adopt(self, client: str, other: "Inbox") -> None:
        """Take over the channels and memberships of a loop that is closed, and what is sent to `client`."""
        ways = [self._way_to_inbox(client)]
        ways += [self._way_to(channel) for channel in other.local.mailboxes if not names.is_specific(channel)]
        ways += [self._way_to_group(group) for group in other.local.groups]
        self.local.take_over(other.local)
        for way in ways:
            self._want(*way)  # what was taken over is heard as soon as there is a server
        for way in ways:
            await self._listen(*way)

    async def close(self) -> None:
        """Let go of everything. Idempotent; it opens again when it is used."""
        self.local.close()
        self._requests.close()
        self._outlets.clear()
        self._group_outlets.clear()
        await self.servers.close()

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        self._outlets.clear()
        self._group_outlets.clear()
        self.servers.abandon()


def _remember(outlets: dict[str, Outlet], name: str, outlet: Outlet) -> None:
    if len(outlets) >= OUTLETS:
        outlets.clear()
    outlets[name] = outlet
