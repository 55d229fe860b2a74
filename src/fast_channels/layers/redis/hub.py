"""What one event loop holds of a queue layer: its connections, what it sends, what it receives, its signs of life."""

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from fast_channels import names
from fast_channels.exceptions import ChannelLayerClosed, ChannelReleased, FastChannelsError
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.redis.checks import warn_about
from fast_channels.layers.redis.envelope import Control
from fast_channels.layers.redis.link import Link, LinkEvents
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.memberships import GroupMemberships
from fast_channels.layers.redis.outbox import ANSWER_KEPT, Argument, Outbox
from fast_channels.layers.redis.requests import Requests
from fast_channels.layers.redis.scripts import APPEND, PUSH
from fast_channels.layers.redis.shared import SharedChannel
from fast_channels.layers.redis.stream_inbox import StreamInbox
from fast_channels.layers.redis.subscriptions import Gap, Subscriptions
from fast_channels.layers.redis.topology import shard_of
from fast_channels.layers.redis.undertaker import Undertaker
from fast_channels.layers.redis.wiring import BEAT, INBOX_BOUND, QueueWiring

__all__ = ["GroupOutlet", "Hub", "Outlet"]

logger = logging.getLogger("fast_channels.redis")

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

    link: Link
    key: bytes
    """Of its members; and what a message is encrypted for."""
    head: bytes


class Hub(LinkEvents):
    """The channels of one event loop, and its connections: one for commands to each server, and one for each inbox that
    is read. As `LinkEvents` it counts what happens to those for commands.
    """

    def __init__(self, client: str, wiring: QueueWiring) -> None:
        self.loop = asyncio.get_running_loop()
        self.client = client
        self.inboxes: dict[str, StreamInbox] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        """Those of the loop's own inbox: the shortest way to most of them."""
        self.shared: dict[str, SharedChannel] = {}
        self._wiring = wiring
        self._links: dict[int, Link] = {}
        self._subscriptions: dict[int, Subscriptions] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._outlets: dict[str, Outlet] = {}
        self._group_outlets: dict[str, GroupOutlet] = {}
        self._numbers = itertools.count(1)
        self._shared_memberships: dict[str, GroupMemberships] = {}
        self._requests = Requests(client, self, self._send_control, wiring.patience, wiring.counters)
        self._undertaker = Undertaker(client, wiring, self.link_to, self.links)
        self._heart: asyncio.Task[None] | None = None
        self._beats: dict[object, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Hub {self.client}: {len(self.inboxes)} inboxes, {len(self.shared)} shared channels>"

    @property
    def holds_channels(self) -> bool:
        """Whether there are channels that a later loop may want to take over."""
        return any(inbox.local.mailboxes for inbox in self.inboxes.values())

    # Connections

    def link_to(self, key: bytes) -> Link:
        """The link for commands to the server of `key`."""
        return self._link(self._shard(key))

    def links(self) -> list[Link]:
        """The links to all servers."""
        return [self._link(shard) for shard in range(len(self._wiring.endpoints))]

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
            self._begin(("check", link.label), self._look_at(link))

    async def _look_at(self, link: Link) -> None:
        try:
            await warn_about(link)
        except BaseException:
            self._wiring.checked.discard(link.label)  # when it is back
            raise

    def reading_link(self, key: bytes, events: LinkEvents) -> Link:
        """A link of its own to the server of `key`, for commands that block."""
        return Link(self._wiring.endpoints[self._shard(key)], events, self._wiring.patience, "reading")

    def _shard(self, key: bytes) -> int:
        return shard_of(key.rpartition(b"|")[0], len(self._wiring.endpoints))

    def _subscriptions_for(self, key: bytes) -> Subscriptions:
        shard = self._shard(key)
        subscriptions = self._subscriptions.get(shard)
        if subscriptions is None:
            subscriptions = self._subscriptions[shard] = Subscriptions(
                self._wiring.endpoints[shard], self._wiring.patience, lambda: None, self._missed_wakes
            )
        return subscriptions

    def _missed_wakes(self, gap: Gap) -> None:
        for shared in self.shared.values():
            shared.look_again()

    def on_down(self, reason: BaseException) -> None:
        self._wiring.counters.disconnections += 1

    def on_up(self, outage: float) -> None:
        self._wiring.counters.reconnections += 1
        self.is_back()
        for link in self.links():
            self._check(link)

    # Sending

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
        if names.is_specific(channel):
            before: tuple[Argument, ...] = (capacity, channel, pack_head("d", wiring.expiry, channel))
            outlet = Outlet(self._to_inbox(names.client_of(channel)), before, context, capacity)
        else:
            outlet = Outlet(self._to_shared(channel), (capacity, wiring.expiry), context, capacity)
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
            outlet = GroupOutlet(self.link_to(key), key, pack_head("g", self._wiring.expiry, group))
            if len(self._group_outlets) >= OUTLETS:
                self._group_outlets.clear()
            self._group_outlets[group] = outlet
        return outlet

    def to_member(self, client: str) -> Outbox:
        """The outbox of a client that is a member of a group."""
        return self._to_inbox(client)

    def _to_inbox(self, client: str) -> Outbox:
        outbox = self._outboxes.get(f"i{client}")
        if outbox is None:
            keys = self._wiring.keys.inbox(client)
            answered = self._wiring.keys.answered(keys.meta, self.client)
            outbox = self._new_outbox(f"i{client}", APPEND, (*keys[:4], answered), (INBOX_BOUND, ANSWER_KEPT))
        return outbox

    def _to_shared(self, channel: str) -> Outbox:
        outbox = self._outboxes.get(f"c{channel}")
        if outbox is None:
            keys = self._wiring.keys.shared(channel)
            answered = self._wiring.keys.answered(keys.ready, self.client)
            outbox = self._new_outbox(
                f"c{channel}",
                PUSH,
                (keys.ready, keys.payloads, keys.states, keys.delayed, keys.marks, answered),
                (ANSWER_KEPT, self._wiring.keys.wake(channel)),
                self._without_expired,
            )
        return outbox

    def _new_outbox(self, name: str, script: Any, keys: tuple[bytes, ...], before: Any, results: Any = None) -> Outbox:
        if len(self._outboxes) >= OUTLETS:
            self._outboxes = {name: outbox for name, outbox in self._outboxes.items() if not outbox.idle}
            self._outlets.clear()
        link = self.link_to(keys[0])
        outbox = Outbox(link, self._wiring.patience, script, keys, before, self._numbers, results or bytes.decode)
        self._outboxes[name] = outbox
        return outbox

    def _without_expired(self, answer: bytes) -> str:
        expired, _, results = answer.decode().partition(":")
        if expired != "0":
            self._wiring.counters.drop("expired", int(expired))
        return results

    # Receiving

    async def inbox(self) -> StreamInbox:
        """The inbox of this loop, known to the server."""
        inbox = self.inboxes.get(self.client)
        if inbox is None:
            inbox = self.inboxes[self.client] = StreamInbox(self.client, self, self._wiring)
            self.mailboxes = inbox.local.mailboxes
        self._beat()
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
            subscriptions = partial(self._subscriptions_for, key)
            shared = SharedChannel(channel, self.client, self._wiring, self.link_to(key), subscriptions)
            self.shared[channel] = shared
        self._beat()
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

    async def _send_control(self, client: str, control: Control) -> None:
        payload = self._wiring.control.serialize(control, self._wiring.keys.control_context(client))
        await self._to_inbox(client).post(("", "", pack_head("k"), payload), len(payload))

    def control(self, payload: bytes, context: bytes) -> None:
        """A control entry arrived."""
        self._requests.handle(msgspec.convert(self._wiring.control.deserialize(payload, context), Control))

    # Losses

    def lost(self) -> None:
        """The server had lost an inbox, and probably everything else: memberships are made again."""
        self._restore(anew=True)

    def is_back(self) -> None:
        """A server was away: it is told the memberships again."""
        self._restore(anew=False)

    def _restore(self, *, anew: bool) -> None:
        for memberships in self._memberships():
            self._begin((memberships, anew), memberships.restore(anew=anew))

    def _memberships(self) -> list[GroupMemberships]:
        own = [inbox.memberships for inbox in self.inboxes.values()]
        return [*own, *self._shared_memberships.values()]

    # Signs of life

    def _beat(self) -> None:
        if self._heart is None or self._heart.done():
            self._heart = self.loop.create_task(self._keep_beating(), name=f"fast-channels {self.client}")

    async def _keep_beating(self) -> None:
        while True:
            for link in self.links():
                self._begin((self._undertaker, link.label), self._undertaker.keep_lease(link))
            for inbox in self.inboxes.values():
                self._begin(inbox, inbox.keep())
            for memberships in self._memberships():
                memberships.renew(BEAT)
            for channel, shared in tuple(self.shared.items()):
                if shared.needs_lease:
                    self._begin(shared, shared.keep())
                elif shared.is_unused:
                    del self.shared[channel]
            await asyncio.sleep(BEAT)

    def _begin(self, what: object, work: Coroutine[Any, Any, object]) -> None:
        """Do it beside everything else, unless it is still being done: a server that is away delays no other."""
        if what in self._beats:
            work.close()
            return
        self._beats[what] = self.loop.create_task(self._one_beat(what, work))

    async def _one_beat(self, what: object, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except FastChannelsError as error:
            logger.debug("%r: %s", what, error)  # the link says what is wrong with its server
        except Exception:
            logger.exception("a sign of life of %r failed", what)
        finally:
            self._beats.pop(what, None)

    # Life

    def forget(self, channel: str) -> None:
        """Forget a specific channel of this loop, its messages and its memberships."""
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
            await memberships.close()
        shared = self.shared.pop(channel, None)
        if shared is not None:
            await shared.close(ChannelReleased)

    async def adopt(self, client: str, other: "Hub") -> None:
        """Take over the channels and memberships of a loop that is closed."""
        inbox = other.inboxes.pop(client, None)
        if inbox is not None:
            self.inboxes[client] = inbox
            inbox.adopted_by(self)
            self._beat()
            await inbox.attend()
            await inbox.memberships.restore(anew=True)

    async def close(self) -> None:
        """Let go of everything. Idempotent; it opens again when it is used."""
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.cancel()
        self._requests.close()
        for beat in tuple(self._beats.values()):
            beat.cancel()
        shared, self.shared = self.shared, {}
        inboxes, self.inboxes, self.mailboxes = self.inboxes, {}, {}
        memberships, self._shared_memberships = self._shared_memberships, {}
        await asyncio.gather(
            *(channel.close(ChannelLayerClosed) for channel in shared.values()),
            *(inbox.close() for inbox in inboxes.values()),
            *(membership.close() for membership in memberships.values()),
        )
        if heart is not None:
            await self._undertaker.end_lease()
        await self._close_links()

    async def _close_links(self) -> None:
        links, self._links = self._links, {}
        subscriptions, self._subscriptions = self._subscriptions, {}
        self._outboxes.clear()
        self._outlets.clear()
        self._group_outlets.clear()
        closing = [*(link.close() for link in links.values()), *(each.close() for each in subscriptions.values())]
        await asyncio.gather(*closing)

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for link in (*self._links.values(), *(each.link for each in self._subscriptions.values())):
            link.abandon()
        for inbox in self.inboxes.values():
            inbox.abandon()
        self._links.clear()
        self._subscriptions.clear()
        self._outboxes.clear()
        self._outlets.clear()
        self._group_outlets.clear()
