"""The pub/sub layer: live messages at the lowest latency, each at most once."""

import asyncio
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from fast_channels import names
from fast_channels.exceptions import ForeignChannelError, MessageTooLarge
from fast_channels.layers.base import BaseChannelLayer, LayerStatistics
from fast_channels.layers.local import LocalChannels, check_overflow_policy
from fast_channels.layers.mailbox import SKIPPED, Counters, Mailbox, is_worth_a_line
from fast_channels.layers.reader import ChannelReader, PumpedReader
from fast_channels.layers.redis.config import Hosts, parse_hosts
from fast_channels.layers.redis.inbox import Inbox, Wiring
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Gap
from fast_channels.layers.redis.topology import Endpoint
from fast_channels.serializers import BaseMessageSerializer, MsgPackSerializer, registry
from fast_channels.type_defs import ChannelCapacityDict, OverflowPolicy

__all__ = ["Gap", "RedisPubSubChannelLayer"]

logger = logging.getLogger("fast_channels.redis")

Entry = tuple[bytes, bytes]
"""The address under which a message was encrypted, and the message."""

Callback = Callable[["RedisPubSubChannelLayer"], Any]

ADOPTABLE = 64
"""Inboxes of closed event loops that are kept for a later loop to adopt."""


class RedisPubSubChannelLayer(BaseChannelLayer):
    """Fire and forget between processes: a message reaches who is connected, once, or nobody.

    While the server is away, `send` and `group_send` wait up to `send_timeout` seconds. Subscriptions are restored by
    themselves; what was published meanwhile is lost, and `on_reconnect` and the log say so: no gap is silent. What was
    sent when the connection broke raises `OutcomeUnknown`, and is never sent twice.

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
        group_expiry: has no effect here: a membership lives as long as its process; taken like `expiry`.
        overflow: what one more message does to a full mailbox: `drop_newest`, `drop_oldest`, or `close` (its consumer
            is closed with code 1013). Counted and logged in any case.
        send_timeout: seconds that a send waits for a server that is away.
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
        overflow: OverflowPolicy = "drop_newest",
        send_timeout: float = 5.0,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        check_overflow_policy(overflow)
        servers = parse_hosts(
            hosts,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
        )
        self.prefix = prefix
        self.overflow: OverflowPolicy = overflow
        self.on_disconnect = on_disconnect
        self.on_reconnect = on_reconnect
        self.last_gap: Gap | None = None
        """The last time without subscriptions, or None if there was none."""
        self._addresses = Addresses(prefix)
        self._serializer = registry.get_serializer(
            serializer_format, symmetric_encryption_keys=symmetric_encryption_keys
        )
        self._encrypted = bool(symmetric_encryption_keys)
        self._read = self._decoder()
        self._counters = Counters()
        self._wiring = Wiring(
            endpoints=[Endpoint(server) for server in servers],
            addresses=self._addresses,
            patience=Patience(send=send_timeout),
            counters=self._counters,
            control=MsgPackSerializer(symmetric_encryption_keys=symmetric_encryption_keys),
            on_down=self._went_down,
            on_gap=self._came_back,
        )
        self._callbacks: set[asyncio.Task[None]] = set()
        self._start_afresh()
        _layers.add(self)

    def __repr__(self) -> str:
        servers = ", ".join(endpoint.label for endpoint in self._wiring.endpoints)
        return f"<RedisPubSubChannelLayer {self.prefix!r} on {servers}>"

    # Sending and receiving

    async def send(self, channel: str, message: Any) -> None:
        outlet = self._here().outlet(channel)
        if not await outlet.publish(self._encode(message, outlet.context)):
            self._counters.drop("no_receiver")
        self._counters.sent += 1

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
        return channel

    async def release_channel(self, channel: str) -> None:
        names.check_channel_name(channel)
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
            inbox.leave(group, channel)
        else:
            await inbox.request("leave", group, channel)

    async def group_send(self, group: str, message: Any) -> None:
        outlet = self._here().group_outlet(group)
        await outlet.publish(self._encode(message, outlet.context))
        self._counters.group_sent += 1

    # Life

    async def flush(self) -> None:
        """Drop what waits in the channels of this process, and leave all groups. The server keeps nothing to drop."""
        loop = asyncio.get_running_loop()
        for inbox in tuple(self._inboxes.values()):
            if inbox.loop is loop:
                inbox.flush()
            elif not inbox.loop.is_closed():
                inbox.loop.call_soon_threadsafe(inbox.flush)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._forget_closed_loops(keep=0)
        for inbox in tuple(self._inboxes.values()):
            if inbox.loop is loop:
                await inbox.close()
            elif inbox.loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(inbox.close(), inbox.loop)
                await asyncio.wait({asyncio.wrap_future(closing)}, timeout=2)

    # Looking

    def statistics(self) -> LayerStatistics:
        counters = self._counters
        return LayerStatistics(
            counters.sent,
            counters.group_sent,
            counters.received,
            dict(counters.dropped),
            counters.disconnections,
            counters.reconnections,
        )

    async def inspect(self) -> dict[str, Any]:
        """The channels and groups of this event loop, and how many subscribers each address of the layer has."""
        inbox = self._here()
        servers = []
        for link in inbox.links():
            addresses = await link.call(b"PUBSUB", b"CHANNELS", self._addresses.everything())
            counts = await link.call(b"PUBSUB", b"NUMSUB", *addresses) if addresses else {}
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

    def serialize(self, message: Any) -> bytes:
        """The bytes of `message` on the wire; without keys, exactly those of the format."""
        return self._serializer.serialize(message)

    def deserialize(self, message: bytes) -> Any:
        """What `serialize` made."""
        return self._serializer.deserialize(message)

    def _encode(self, message: Any, context: bytes) -> bytes:
        payload = self._serializer.serialize(message, context) if self._encrypted else self.serialize(message)
        if len(payload) > self.max_message_size:
            raise MessageTooLarge(size=len(payload), limit=self.max_message_size)
        return payload

    def _decoder(self) -> Callable[[bytes], Any]:
        """The shortest way to do what `deserialize` does, which a subclass may have overridden."""
        if type(self).deserialize is not RedisPubSubChannelLayer.deserialize:
            return self.deserialize
        serializer = self._serializer
        return serializer.decoder() if isinstance(serializer, BaseMessageSerializer) else serializer.deserialize

    def _decode(self, entry: Entry) -> Any:
        context, payload = entry
        try:
            return self._serializer.deserialize(payload, context) if self._encrypted else self._read(payload)
        except Exception as error:  # whoever can publish can publish anything; the receiver goes on
            if is_worth_a_line(self._counters.drop("undecodable")):
                logger.warning(
                    "a message of layer %s cannot be read (%r): has its sender other keys?", self.prefix, error
                )
            return SKIPPED

    # Inboxes: one for each event loop

    def _here(self) -> Inbox:
        loop = asyncio.get_running_loop()
        inbox = self._inboxes.get(loop)
        return inbox if inbox is not None else self._open_inbox(loop)

    def _open_inbox(self, loop: asyncio.AbstractEventLoop) -> Inbox:
        with self._lock:
            self._forget_closed_loops(keep=ADOPTABLE)
            number = self._opened
            self._opened += 1
            client = f"{self.client_prefix}-{number}" if number else self.client_prefix
            local = LocalChannels(self._decode, self.get_capacity, self.overflow, self._counters)
            inbox = self._inboxes[loop] = self._clients[client] = Inbox(client, local, self._wiring)
        return inbox

    def _forget_closed_loops(self, keep: int) -> None:
        for loop in [loop for loop in self._inboxes if loop.is_closed()]:
            self._inboxes.pop(loop).abandon()
        orphans = [client for client, inbox in self._clients.items() if inbox.loop.is_closed()]
        adoptable = [client for client in orphans if self._clients[client].local.mailboxes]
        for client in set(orphans).difference(adoptable[len(adoptable) - keep :] if keep else []):
            del self._clients[client]

    async def _open(self, channel: str) -> Mailbox:
        """The mailbox of a channel that is received on, heard by the server from now on."""
        names.check_channel_name(channel)
        inbox = self._here()
        if not await self._owned(channel, inbox):
            other = names.client_of(channel) in self._clients
            raise ForeignChannelError(channel, *["another event loop of this process"] * other)
        mailbox = inbox.local.open(channel)
        await inbox.attend_to(channel)
        return mailbox

    async def _owned(self, channel: str, inbox: Inbox) -> bool:
        """Whether `channel` is one of this loop, which takes over what belonged to a loop that is closed."""
        if not names.is_specific(channel):
            inbox.local.open(channel)
            return True
        client = names.client_of(channel)
        owner = self._clients.get(client)
        if owner is None or owner is inbox:
            return owner is inbox
        if not owner.loop.is_closed():
            return False
        with self._lock:
            self._clients.pop(client, None)  # to the end of the line of those that are kept
            self._clients[client] = inbox
        await inbox.adopt(client, owner)
        return True

    def _start_afresh(self) -> None:
        """Take a new identity: at the beginning, and in a forked child, whose parent keeps the old one."""
        self.client_prefix = uuid4().hex
        self._inboxes: dict[asyncio.AbstractEventLoop, Inbox] = {}
        self._clients: dict[str, Inbox] = {}
        self._opened = 0
        self._lock = threading.Lock()

    def _after_fork(self) -> None:
        _of_parents.append(self._inboxes)
        self._start_afresh()

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


_layers: "weakref.WeakSet[RedisPubSubChannelLayer]" = weakref.WeakSet()

_of_parents: list[dict[asyncio.AbstractEventLoop, Inbox]] = []
"""What a forked child inherited: kept, so that no connection of the parent is closed here."""


def _start_afresh_in_child() -> None:
    for layer in tuple(_layers):
        layer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)


def _as_counts(reply: Any) -> dict[str, int]:
    """NUMSUB's answer: a map, or a flat list of names and numbers."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): count for name, count in pairs}
