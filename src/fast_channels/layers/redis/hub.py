"""What one event loop holds of a queue layer: its connections, what it sends, what it receives, its signs of life."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

import msgspec

from fast_channels import names
from fast_channels.exceptions import ChannelLayerClosed, ChannelReleased
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.redis.checks import warn_about
from fast_channels.layers.redis.cluster_servers import servers_of
from fast_channels.layers.redis.durability import Durability
from fast_channels.layers.redis.envelope import Control
from fast_channels.layers.redis.link import Commands, Link, LinkEvents
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.memberships import GroupMemberships
from fast_channels.layers.redis.pulse import Pulse
from fast_channels.layers.redis.requests import Requests
from fast_channels.layers.redis.servers import ServerEvents
from fast_channels.layers.redis.shared import SharedChannel
from fast_channels.layers.redis.stream_inbox import StreamInbox
from fast_channels.layers.redis.subscriptions import Gap
from fast_channels.layers.redis.undertaker import Undertaker
from fast_channels.layers.redis.ways import GroupOutlet, Ways
from fast_channels.layers.redis.wiring import BEAT, QueueWiring

__all__ = ["Hub"]

logger = logging.getLogger("fast_channels.redis")


class Hub:
    """The channels of one event loop: those of its inbox (and of inboxes that it took over from loops that are closed),
    and the shared ones that it receives on.
    """

    def __init__(self, client: str, wiring: QueueWiring) -> None:
        self.loop = asyncio.get_running_loop()
        self.client = client
        self.inboxes: dict[str, StreamInbox] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        """Those of the loop's own inbox: the shortest way to most of them."""
        self.shared: dict[str, SharedChannel] = {}
        self._wiring = wiring
        self._shared_memberships: dict[str, GroupMemberships] = {}
        self._pulse = Pulse(client, self._beat)
        events = ServerEvents(self._check, self.is_back, on_gap=self._missed_wakes)
        self.servers = servers_of(wiring.topology, wiring.patience, wiring.counters, events, sharded=True)
        self._durability = Durability(self.reading_link, wiring.keys, wiring.patience) if wiring.is_replicated else None
        self.ways = Ways(client, wiring, self.servers, self._durability)
        self._requests = Requests(client, self, self._send_control, wiring.patience, wiring.counters)
        self._undertaker = Undertaker(client, lambda: self.inboxes, wiring, self.link_to, self._lease_links)

    def __repr__(self) -> str:
        return f"<Hub {self.client}: {len(self.inboxes)} inboxes, {len(self.shared)} shared channels>"

    @property
    def holds_channels(self) -> bool:
        """Whether there are channels that a later loop may want to take over."""
        return any(inbox.local.mailboxes for inbox in self.inboxes.values())

    def link_to(self, key: bytes) -> Commands:
        """The link for commands to the server of `key`."""
        return self.servers.link_to(key)

    def reading_link(self, key: bytes, events: LinkEvents) -> Link:
        """A link of its own to the server of `key`, for commands that block."""
        return self.servers.reading_link(key, events)

    def _lease_links(self) -> Sequence[Commands]:
        return self.servers.links_with(self._wiring.keys.leases()[0])

    def _missed_wakes(self, gap: Gap) -> None:
        for shared in self.shared.values():
            shared.look_again()

    def _check(self, link: Commands) -> None:
        """Have a look at a server that the layer did not use before."""
        if link.label not in self._wiring.checked:
            self._wiring.checked.add(link.label)
            self._pulse.begin(("check", link.label), self._look_at(link))

    async def _look_at(self, link: Commands) -> None:
        try:
            await warn_about(link)
        except BaseException:
            self._wiring.checked.discard(link.label)  # when it is back
            raise

    def group_outlet(self, group: str) -> GroupOutlet:
        """Where messages for `group` go. Who sends to groups looks after their members, too."""
        self._pulse.start_later()
        return self.ways.group_outlet(group)

    # Receiving

    async def inbox(self, client: str | None = None) -> StreamInbox:
        """The inbox of this loop, or another one that it took over, known to the server."""
        client = client or self.client
        inbox = self.inboxes.get(client)
        if inbox is None:
            inbox = self.inboxes[client] = StreamInbox(client, self, self._wiring)
            if client == self.client:
                self.mailboxes = inbox.local.mailboxes
        self._pulse.start()
        await inbox.attend()
        return inbox

    def inbox_of(self, channel: str) -> StreamInbox | None:
        """The inbox of a specific channel, if it is one of this loop."""
        return self.inboxes.get(names.client_of(channel))

    def shared_channel(self, channel: str) -> SharedChannel:
        """A shared channel to receive on."""
        shared = self.shared.get(channel)
        if shared is None:
            key = self._wiring.keys.shared(channel).ready
            subscriptions = partial(self.servers.subscriptions_for, key)
            shared = SharedChannel(channel, self.client, self._wiring, self.link_to(key), subscriptions)
            self.shared[channel] = shared
        self._pulse.start()
        return shared

    # Groups

    async def join(self, group: str, channel: str) -> None:
        """Make a channel of this loop, or a shared one, a member of `group`."""
        if names.is_specific(channel):
            inbox = self.inbox_of(channel)
            if inbox is not None:
                await inbox.attend()
                await inbox.join(group, channel)
            return
        await self.inbox()  # by which it is noticed if the server loses everything
        memberships = self._shared_memberships.get(channel)
        if memberships is None:
            memberships = self._shared_memberships[channel] = GroupMemberships(
                self._wiring.keys,
                f"c:{channel}".encode,
                self.link_to,
                self._wiring.patience,
                self._wiring.group_expiry,
                is_shared=True,
            )
        await memberships.join(group)

    async def leave(self, group: str, channel: str) -> None:
        """Take a channel of this loop, or a shared one, out of `group`."""
        if names.is_specific(channel):
            inbox = self.inbox_of(channel)
            if inbox is not None:
                inbox.leave(group, channel)
            return
        memberships = self._shared_memberships.get(channel)
        if memberships is not None:
            memberships.leave(group)
        key = self._wiring.keys.group(group)
        await self.link_to(key).call(b"ZREM", key, f"c:{channel}")

    async def request(self, op: str, group: str, channel: str) -> None:
        """Ask the owner of `channel`, another process, to make it join or leave `group`. See `Requests.ask`."""
        await self.inbox()
        await self._requests.ask(op, group, channel)

    async def probe(self) -> None:
        """Send something to the inbox of this loop, through its server; returns when it has arrived."""
        await self.inbox()
        await self._requests.probe()

    async def _send_control(self, client: str, control: Control) -> None:
        payload = self._wiring.control.serialize(control, self._wiring.keys.control_context(client))
        await self.ways.to_inbox(client).post(("", "", pack_head("k"), payload), len(payload))

    def control(self, payload: bytes, context: bytes) -> None:
        """A control entry arrived."""
        self._requests.handle(msgspec.convert(self._wiring.control.deserialize(payload, context), Control))

    # Losses

    def is_read(self) -> None:
        """An inbox was read: this loop is alive, and says so, also after somebody cancelled every task there is."""
        if self.inboxes:  # else it is being closed
            self._pulse.start()

    def lost(self) -> None:
        """The server had lost an inbox, and probably everything else: memberships are made again."""
        self._restore(anew=True)

    def is_back(self) -> None:
        """A server was away: it is told the memberships again."""
        self._restore(anew=False)

    def _restore(self, *, anew: bool) -> None:
        for memberships in self._memberships():
            self._pulse.begin((memberships, anew), memberships.restore(anew=anew))

    def _memberships(self) -> list[GroupMemberships]:
        own = [inbox.memberships for inbox in self.inboxes.values()]
        return [*own, *self._shared_memberships.values()]

    def _beat(self) -> None:
        """Give signs of life, wherever they are looked for."""
        begin = self._pulse.begin
        for link in self._lease_links():
            begin((self._undertaker, link.label), self._undertaker.keep_lease(link))
        for inbox in self.inboxes.values():
            begin(inbox, inbox.keep())
        for memberships in self._memberships():
            memberships.renew(BEAT)
        for channel, shared in tuple(self.shared.items()):
            if shared.needs_lease:
                begin(shared, shared.keep())
            elif shared.is_unused:
                del self.shared[channel]
                begin((shared, "end"), shared.end())

    # Life

    def forget(self, channel: str) -> None:
        """Forget a specific channel of this loop, its messages and its memberships."""
        self.ways.forget(channel)
        inbox = self.inbox_of(channel)
        if inbox is not None:
            inbox.release(channel)

    def flush(self) -> None:
        """Drop the messages and leave the groups of all channels of this loop; the server forgets them itself."""
        for inbox in self.inboxes.values():
            inbox.empty()
        for memberships in self._shared_memberships.values():
            memberships.forget()

    async def release(self, channel: str) -> None:
        """Forget a channel of this loop; of a shared one, what this loop has of it."""
        if names.is_specific(channel):
            self.forget(channel)
            return
        memberships = self._shared_memberships.pop(channel, None)
        if memberships is not None:
            memberships.forget()  # it may be in the group for others as well
        shared = self.shared.pop(channel, None)
        if shared is not None:
            await shared.close(ChannelReleased)

    async def adopt(self, client: str, other: "Hub") -> None:
        """Take over the channels and memberships of a loop that is closed."""
        inbox = other.inboxes.pop(client, None)
        if inbox is not None:
            self.inboxes[client] = inbox
            inbox.adopted_by(self)
            self._pulse.start()
            await inbox.attend()
            await inbox.memberships.restore(anew=True)

    async def close(self) -> None:
        """Let go of everything. Idempotent; it opens again when it is used."""
        was_alive = self._pulse.stop()
        self._requests.close()
        shared, self.shared = self.shared, {}
        inboxes, self.inboxes, self.mailboxes = self.inboxes, {}, {}
        memberships, self._shared_memberships = self._shared_memberships, {}
        await asyncio.gather(
            *(channel.close(ChannelLayerClosed) for channel in shared.values()),
            *(inbox.close() for inbox in inboxes.values()),
        )
        for membership in memberships.values():
            membership.forget()  # a shared channel stays where it is: other processes receive on it, or will
        if was_alive:
            await self._undertaker.end_lease()
        self.ways.clear()
        if self._durability is not None:
            await self._durability.close()
        await self.servers.close()

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        self.ways.clear()
        if self._durability is not None:
            self._durability.abandon()
        self.servers.abandon()
        self._pulse.abandon()
        for inbox in self.inboxes.values():
            inbox.abandon()
        for memberships in self._shared_memberships.values():
            memberships.abandon()
