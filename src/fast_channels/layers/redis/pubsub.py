"""The pub/sub layer: live messages at the lowest latency, each at most once."""

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from fast_channels import names
from fast_channels.exceptions import NotSent
from fast_channels.layers.base import raise_unless_all_sent
from fast_channels.layers.local import LocalChannels, check_overflow_policy
from fast_channels.layers.made import channel_made, channel_released
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.reader import ChannelReader, PumpedReader
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.config import Hosts
from fast_channels.layers.redis.envelope import MARK, pack_addressed
from fast_channels.layers.redis.inbox import Inbox, Outlet, Wiring, publish_all
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Gap
from fast_channels.layers.redis.sync_pubsub import PubSubSyncLayer
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of
from fast_channels.layers.sync import SyncLayer, sync_layer
from fast_channels.serializers import MsgPackSerializer
from fast_channels.type_defs import ChannelCapacityDict, OverflowPolicy

__all__ = ["Gap", "RedisPubSubChannelLayer"]

logger = logging.getLogger("fast_channels.redis")

Entry = tuple[bytes, bytes]
"""The address under which a message was encrypted, and the message."""

Callback = Callable[["RedisPubSubChannelLayer"], Any]


class RedisPubSubChannelLayer(RedisLayer[Inbox]):
    """Fire and forget between processes: a message reaches who is connected, once, or nobody.

    While the server is away, `send` and `group_send` wait up to `send_timeout` seconds. Subscriptions are restored by
    themselves; what was published meanwhile is lost, and `on_reconnect` and the log say so: no outage is silent. What
    was sent when the connection broke raises `OutcomeUnknown`, and is never sent twice.

    Every process that receives on a plain channel gets its messages, from its first `receive()` on. A plain channel
    that is added to a group joins it in this process alone: each process that receives on it adds its own.

    A channel belongs to the event loop that made it; a layer may be used by any number of loops and threads. Order is
    kept per sender and channel or group.

    Args:
        hosts: servers as in `parse_hosts`; several share the load, each channel and group on one of them.
        prefix: what every name on the server begins with.
        on_disconnect: called with the layer when a subscribed connection is lost; a function or a coroutine function.
        on_reconnect: called with the layer when all subscriptions are confirmed again; `layer.last_gap` says what was
            missed.
        symmetric_encryption_keys: a list of keys; the first encrypts, every one decrypts.
        serializer_format: `msgpack`, `json`, or a format of `fast_channels.layers.redis.serializers.registry`.
        expiry: has no effect here, where nothing is kept; taken so that the layers can be exchanged.
        capacity: messages that a channel's mailbox holds in its process.
        channel_capacity: globs or compiled patterns with capacities of their own; the first that matches wins.
        sentinels: `[(host, port), …]` with `service_name`, instead of `hosts`.
        service_name: the name of the master at its Sentinels.
        sentinel_kwargs: options of the connections to the Sentinels.
        connection_kwargs: options of the connections to the servers.
        cluster: whether `hosts` are nodes of a Redis Cluster; any of them will do, the others are found.
        group_expiry: has no effect here: a membership lives as long as its process; taken like `expiry`.
        overflow: what one more message does to a full mailbox: `drop_newest`, `drop_oldest`, or `close` (its consumer
            is closed with code 1013). Counted and logged in any case.
        send_timeout: seconds that a send waits for a server that is away.
        max_message_size: bytes of the largest message, encoded; None for 16 MiB.
    """

    def __init__(
        self,
        hosts: Hosts | None = None,
        prefix: str = "asgi",
        on_disconnect: Callback | None = None,
        on_reconnect: Callback | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        serializer_format: str = "msgpack",
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: ChannelCapacityDict | None = None,
        *,
        group_expiry: float = 86400,
        sentinels: Sequence[tuple[str, int]] | None = None,
        service_name: str | None = None,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        cluster: bool = False,
        overflow: OverflowPolicy = "drop_newest",
        send_timeout: float = 5.0,
        max_message_size: int | None = None,
    ) -> None:
        super().__init__(
            hosts,
            prefix,
            expiry=expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            serializer_format=serializer_format,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
            cluster=cluster,
        )
        self._limit_size(max_message_size)
        check_overflow_policy(overflow)
        self.overflow: OverflowPolicy = overflow
        self.on_disconnect = on_disconnect
        self.on_reconnect = on_reconnect
        self.last_gap: Gap | None = None
        """The last time without subscriptions, or None if there was none."""
        self._addresses = Addresses(prefix)
        self._callbacks: set[asyncio.Task[None]] = set()
        control = MsgPackSerializer(symmetric_encryption_keys=symmetric_encryption_keys)
        self._wiring = self._wired(control, Patience(send=send_timeout))

    def _wired(self, control: MsgPackSerializer, patience: Patience) -> Wiring:
        return Wiring(
            topology=self._topology,
            addresses=self._addresses,
            patience=patience,
            counters=self._counters,
            control=control,
            on_down=self._went_down,
            on_gap=self._came_back,
        )

    # Sending and receiving

    async def send(self, channel: str, message: Any, *, expiry: float | None = None) -> None:
        if expiry is not None:
            check_expiry(expiry)
        outlet = self._here().outlet(channel)
        if not await outlet.publish(self._encode(message, outlet.context)):
            self._counters.drop("no_receiver")
        self._counters.sent += 1

    async def send_many(self, messages: Iterable[tuple[str, Any]], *, expiry: float | None = None) -> None:
        check_expiry(expiry)
        inbox = self._here()
        channels: list[str] = []
        postings: list[tuple[Outlet, bytes]] = []
        for channel, message in pairs_of(messages):
            outlet = inbox.outlet(channel)
            channels.append(channel)
            postings.append((outlet, self._encode(message, outlet.context)))
        failures = []
        for index, outcome in enumerate(await publish_all(postings)):
            if isinstance(outcome, Exception):
                failures.append(NotSent(index, channels[index], outcome))
            else:
                self._counters.sent += 1
                if not outcome:
                    self._counters.drop("no_receiver")
        raise_unless_all_sent(failures, len(postings))

    async def receive(self, channel: str) -> Any:
        inbox = self._here()
        mailbox = inbox.local.mailboxes.get(channel) if isinstance(channel, str) else None
        if mailbox is None or "!" not in channel:
            mailbox = await self._open(channel)
        return await mailbox.receive(inbox.loop)

    async def new_channel(self, prefix: str = "specific") -> str:
        inbox = self._here()
        channel = names.specific_name(prefix, inbox.client, os.urandom(8).hex())
        names.check_channel_name(channel)
        inbox.local.open(channel)
        try:
            await inbox.attend_to(channel)
        except BaseException:
            inbox.release(channel)
            raise
        channel_made(self, channel)
        return channel

    async def release_channel(self, channel: str) -> None:
        names.check_channel_name(channel)
        channel_released(channel)
        inbox = self._clients.get(names.client_of(channel)) if names.is_specific(channel) else self._here()
        if inbox is None:
            return  # another process's, which releases it, or that of a loop that is long gone
        if inbox.loop is asyncio.get_running_loop():
            inbox.release(channel)
        elif inbox.loop.is_closed():
            inbox.local.release(channel)
        else:
            inbox.loop.call_soon_threadsafe(inbox.release, channel)

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        names.check_group_name(group)
        names.check_channel_name(channel)
        inbox = self._here()
        if await self._owned(channel, inbox):
            await inbox.join(group, channel)
        else:
            await inbox.request("join", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        names.check_group_name(group)
        names.check_channel_name(channel)
        inbox = self._here()
        if await self._owned(channel, inbox):
            await inbox.leave(group, channel)
        else:
            await inbox.request("leave", group, channel)

    async def group_send(
        self,
        group: str | Sequence[str],
        message: Any,
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        if expiry is not None:
            check_expiry(expiry)
        inbox = self._here()
        if isinstance(group, str) and not exclude:
            outlet = inbox.group_outlet(group)
            payload = self._encode(message, outlet.context)
            if not payload.startswith(MARK):
                await outlet.publish(payload)
                self._counters.group_sent += 1
                return
        await self._send_addressed(inbox, Audience(groups_of(group), excluded_channels(exclude)), message)

    async def _send_addressed(self, inbox: Inbox, audience: Audience, message: Any) -> None:
        """Publish to each group who gets the message."""
        text = audience.packed()
        payload = pack_addressed(text, self._encode(message, self._addresses.audience_context(text)))
        outcomes = await publish_all([(inbox.group_outlet(group), payload) for group in audience.groups])
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # the other groups have it
                raise outcome
        self._counters.group_sent += 1

    def _make_sync(self) -> SyncLayer:
        return sync_layer(self, RedisPubSubChannelLayer, PubSubSyncLayer)

    # Life

    async def flush(self) -> None:
        """Drop what waits in the channels of this process, and leave all groups. The server keeps nothing to drop."""
        loop = asyncio.get_running_loop()
        for inbox in tuple(self._parts.values()):
            if inbox.loop is loop:
                inbox.flush()
            elif not inbox.loop.is_closed():
                inbox.loop.call_soon_threadsafe(inbox.flush)

    # Looking

    async def inspect(self) -> dict[str, Any]:
        """The channels and groups of this event loop, and how many subscribers each address of the layer has."""
        inbox = self._here()
        servers = []
        shard = b"SHARD" if inbox.servers.publish == b"SPUBLISH" else b""
        for link in await inbox.servers.all_links():
            addresses = await link.call(b"PUBSUB", shard + b"CHANNELS", self._addresses.everything())
            counts = await link.call(b"PUBSUB", shard + b"NUMSUB", *addresses) if addresses else {}
            servers.append({"server": link.label, "subscribers": _as_counts(counts)})
        return {
            "layer": "pub/sub",
            "channels": dict(inbox.local.queued()),
            "groups": {name: list(group.members) for name, group in inbox.local.groups.items()},
            "servers": servers,
        }

    # What consumers and workers use

    def reader(self, channel: str) -> ChannelReader:
        mailbox = self._here().local.mailboxes.get(channel)
        if mailbox is None or not names.is_specific(channel):
            return PumpedReader(lambda: self.receive(channel))
        return mailbox

    async def _give_back(self, channel: str, message: Any) -> None:
        mailbox = self._here().local.mailboxes.get(channel)
        if mailbox is None:
            self._counters.drop("channel_gone")
        else:
            mailbox.put_back((b"", self._encode(message, b"")))

    # Encoding

    def _decode(self, entry: Entry) -> Any:
        context, payload = entry
        return self._decoded(payload, context)

    # Inboxes: one for each event loop

    def _make_part(self, client: str) -> Inbox:
        local = LocalChannels(self._decode, self.get_capacity, self.overflow, self._counters)
        return Inbox(client, local, self._wiring)

    async def _open(self, channel: str) -> Mailbox:
        """The mailbox of a channel that is received on, heard by the server from now on."""
        names.check_channel_name(channel)
        inbox = self._here()
        if not await self._owned(channel, inbox):
            raise self._foreign(channel)
        mailbox = inbox.local.open(channel)
        await inbox.attend_to(channel)
        return mailbox

    async def _owned(self, channel: str, inbox: Inbox) -> bool:
        """Whether `channel` is one of this loop, which takes over what belonged to a loop that is closed."""
        if not names.is_specific(channel):
            inbox.local.open(channel)
            return True
        return await self._owns(names.client_of(channel), inbox)

    # Outages

    def _went_down(self) -> None:
        self._counters.disconnections += 1
        self._notify(self.on_disconnect)

    def _came_back(self, gap: Gap) -> None:
        self._counters.reconnections += 1
        self.last_gap = gap
        logger.warning(
            "layer %s heard nothing from %s for %.2f s (%s): what was published then is lost; %d restored",
            self.prefix,
            gap.server,
            gap.seconds,
            gap.reason,
            gap.addresses,
        )
        self._notify(self.on_reconnect)

    def _notify(self, callback: Callback | None) -> None:
        if callback is None:
            return
        task = asyncio.get_running_loop().create_task(self._call(callback))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def _call(self, callback: Callback) -> None:
        try:
            result = callback(self)
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception("%r of layer %s failed", callback, self.prefix)


def _as_counts(reply: Any) -> dict[str, int]:
    """NUMSUB's answer: a map, or a flat list of names and numbers."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(errors="backslashreplace"): count for name, count in pairs}
