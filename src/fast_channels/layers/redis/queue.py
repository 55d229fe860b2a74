"""The queue layer: messages are kept on the server until they are handed over."""

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from fast_channels import names
from fast_channels.exceptions import ChannelFull, NotSent
from fast_channels.layers.base import raise_unless_all_sent, require_dict
from fast_channels.layers.made import channel_made, channel_released
from fast_channels.layers.reader import ChannelReader, PumpedReader
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.config import Hosts
from fast_channels.layers.redis.destinations import before_payload
from fast_channels.layers.redis.durability import DURABILITIES
from fast_channels.layers.redis.foreign import on_one_line
from fast_channels.layers.redis.graveyard import Graveyard
from fast_channels.layers.redis.group_sending import AudienceLetters, GroupLetters, GroupSending, head_and_context
from fast_channels.layers.redis.hub import Hub
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.mailroom import milliseconds
from fast_channels.layers.redis.outbox import Argument
from fast_channels.layers.redis.pipelining import Pipeline
from fast_channels.layers.redis.results import STORED, count_sent
from fast_channels.layers.redis.shared import SharedReader
from fast_channels.layers.redis.stream_inbox import StreamInbox
from fast_channels.layers.redis.survey import empty, look
from fast_channels.layers.redis.sync_queue import QueueSyncLayer
from fast_channels.layers.redis.ways import Outlet
from fast_channels.layers.redis.wiring import QueueWiring
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of
from fast_channels.layers.sync import SyncLayer, sync_layer
from fast_channels.serializers import MsgPackSerializer
from fast_channels.type_defs import ChannelCapacityDict

__all__ = ["RedisChannelLayer"]

logger = logging.getLogger("fast_channels.redis")


class RedisChannelLayer(RedisLayer[Hub]):
    """The queue: a message that was accepted is kept by the server until it is handed over, or expires.

    A specific channel is received on by the event loop that made it. A plain channel is shared: each message goes to
    one receiver, in whatever process. `receive()` acknowledges a shared message before it returns; `delivery()` when
    its block is left, and gives it back if the block raises, or if its process dies.

    A send whose answer is lost is sent again in order, and stored once, for `send_timeout` seconds; then it raises
    `OutcomeUnknown`. Memberships end some seconds after the process that holds them died; they come back by themselves
    if the server loses them. Alive means that the event loop turns once in 4 seconds: blocking work belongs in a
    thread.

    Args:
        hosts: servers as in `parse_hosts`; several share the load, each channel and group on one of them.
        prefix: what every name on the server begins with.
        expiry: seconds for which a message is kept that nobody took; with the default of 60, a job that waits for a
            minute is gone.
        group_expiry: seconds for which a membership outlives the process that holds it if nobody buries it.
        capacity: messages that a channel holds.
        channel_capacity: globs or compiled patterns with capacities of their own; the first that matches wins.
        symmetric_encryption_keys: a list of keys; the first encrypts, every one decrypts.
        random_prefix_length: bytes of noise before each message, so that equal messages differ.
        serializer_format: `msgpack`, `json`, or a format of `fast_channels.layers.redis.serializers.registry`.
        sentinels: `[(host, port), …]` with `service_name`, instead of `hosts`.
        service_name: the name of the master at its Sentinels.
        sentinel_kwargs: options of the connections to the Sentinels.
        connection_kwargs: options of the connections to the servers.
        cluster: whether `hosts` are nodes of a Redis Cluster; any of them will do, the others are found.
        max_deliveries: how often `delivery()` hands a message out before it is a dead letter.
        retry_delay: seconds before a message that was given back comes again; twice as long each time, at most 60.
        send_timeout: seconds that a send waits for a server that is away.
        durability: when a send returns: `server`, when its server has the message; `replicated`, when a replica has
            it as well. `OutcomeUnknown` says that none confirmed it within `send_timeout`.
        max_message_size: bytes of the largest message, encoded; None for 16 MiB.
    """

    extensions: list[str] = ["groups", "flush", "delivery", "dead_letters"]
    _only_dicts = True

    def __init__(
        self,
        hosts: Hosts | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: ChannelCapacityDict | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        sentinels: Sequence[tuple[str, int]] | None = None,
        service_name: str | None = None,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        cluster: bool = False,
        max_deliveries: int = 5,
        retry_delay: float = 0.5,
        send_timeout: float = 5.0,
        durability: str = "server",
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
            random_prefix_length=random_prefix_length if symmetric_encryption_keys else 0,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
            cluster=cluster,
        )
        self._limit_size(max_message_size)
        _check(group_expiry, max_deliveries, retry_delay, durability)
        self.durability = durability
        self.group_expiry = group_expiry
        self.max_deliveries = max_deliveries
        self.retry_delay = retry_delay
        control = MsgPackSerializer(symmetric_encryption_keys=symmetric_encryption_keys)
        self._wiring = self._wired(control, Patience(send=send_timeout))
        self._group_sending = GroupSending(self._wiring)

    def _wired(self, control: MsgPackSerializer, patience: Patience) -> QueueWiring:
        return QueueWiring(
            topology=self._topology,
            keys=QueueKeys(self.prefix),
            patience=patience,
            counters=self._counters,
            control=control,
            decode=self._decoded,
            get_capacity=self.get_capacity,
            expiry=milliseconds(self.expiry),
            group_expiry=max(1, round(self.group_expiry * 1000)),
            max_deliveries=self.max_deliveries,
            retry_delay=self.retry_delay,
            is_replicated=self.durability == "replicated",
        )

    def _make_part(self, client: str) -> Hub:
        return Hub(client, self._wiring)

    # Sending and receiving

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        outlet = self._here().ways.outlet(channel)
        require_dict(message)
        before = outlet.before if expiry is None else _before(channel, outlet, expiry)
        payload = self._encode(message, outlet.context)
        result = await outlet.outbox.post((*before, payload), len(payload))
        if result == STORED:
            self._counters.sent += 1
        else:
            count_sent(self._counters, result, channel, outlet.capacity)

    async def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]], *, expiry: float | None = None) -> None:
        check_expiry(expiry)
        ways = self._here().ways
        letters: list[tuple[str, bytes]] = []
        for channel, message in pairs_of(messages):
            outlet = ways.outlet(channel)
            require_dict(message)
            letters.append((channel, self._encode(message, outlet.context)))

        def post(channel: str, payload: bytes) -> "asyncio.Future[str]":
            outlet = ways.outlet(channel)  # asked for again: what is not used may be forgotten
            before = outlet.before if expiry is None else _before(channel, outlet, expiry)
            return outlet.outbox.post((*before, payload), len(payload))

        async with Pipeline() as pipeline:
            for channel, payload in letters:
                await pipeline.start(ways.outlet(channel).outbox.server, len(payload), partial(post, channel, payload))
            outcomes = await pipeline.finish()
        self._count_many([channel for channel, _ in letters], outcomes)

    def _count_many(self, channels: Sequence[str], outcomes: Sequence[str | Exception]) -> None:
        failures = []
        for index, (channel, outcome) in enumerate(zip(channels, outcomes, strict=True)):
            if isinstance(outcome, Exception):
                failures.append(NotSent(index, channel, outcome))
                continue
            try:
                count_sent(self._counters, outcome, channel, self.get_capacity(channel) if outcome == "f" else 0)
            except ChannelFull as error:
                failures.append(NotSent(index, channel, error))
        raise_unless_all_sent(failures, len(channels))

    async def receive(self, channel: str) -> dict[str, Any]:
        hub = self._here()
        mailbox = hub.mailboxes.get(channel) if isinstance(channel, str) else None
        if mailbox is None:
            names.check_channel_name(channel)
            if not names.is_specific(channel):
                held = await hub.shared_channel(channel).receive()
                self._counters.received += 1
                return held.message  # type: ignore[no-any-return]
            mailbox = (await self._inbox_of(channel, hub)).local.open(channel)
        message: dict[str, Any] = await mailbox.receive(hub.loop)
        return message

    async def new_channel(self, prefix: str = "specific") -> str:
        hub = self._here()
        inbox = hub.inboxes.get(hub.client)
        channel = names.specific_name(prefix, hub.client, os.urandom(8).hex())
        names.check_channel_name(channel)
        if inbox is None or not inbox.is_attended:
            inbox = await hub.inbox()
        inbox.local.open(channel)
        channel_made(self, channel)
        return channel

    async def release_channel(self, channel: str) -> None:
        names.check_channel_name(channel)
        channel_released(channel)
        if not names.is_specific(channel):
            await self._here().release(channel)
            return
        hub = self._clients.get(names.client_of(channel))
        if hub is None:
            return  # another process's, which releases it, or that of a loop that is long gone
        if hub.loop is asyncio.get_running_loop():
            await hub.release(channel)
        elif hub.loop.is_closed():
            hub.forget(channel)
        else:
            hub.loop.call_soon_threadsafe(hub.forget, channel)

    async def _inbox_of(self, channel: str, hub: Hub) -> StreamInbox:
        """The inbox of a specific channel, which must be one of this loop."""
        names.check_channel_name(channel)
        if not await self._owns(names.client_of(channel), hub):
            raise self._foreign(channel)
        inbox = hub.inbox_of(channel)
        if inbox is None or not inbox.is_attended:
            inbox = await hub.inbox(names.client_of(channel))  # the layer was closed meanwhile
        return inbox

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        await self._change_membership("join", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._change_membership("leave", group, channel)

    async def _change_membership(self, op: str, group: str, channel: str) -> None:
        names.check_group_name(group)
        names.check_channel_name(channel)
        hub = self._here()
        if names.is_specific(channel) and not await self._owns(names.client_of(channel), hub):
            await hub.request(op, group, channel)
        elif op == "join":
            await hub.join(group, channel)
        else:
            await hub.leave(group, channel)

    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        hub = self._here()
        if not isinstance(group, str) or exclude or expiry is not None:
            await self._send_to_audience(hub, Audience(groups_of(group), excluded_channels(exclude)), message, expiry)
            return
        outlet = hub.group_outlet(group)
        require_dict(message)
        encode = self._encode if self._encrypted else None
        payload = self._encode(message, outlet.key)
        letters = GroupLetters(message, payload, outlet.head, self._wiring.expiry, encode)
        await self._group_sending.send(hub, (outlet,), letters)

    async def _send_to_audience(
        self, hub: Hub, audience: Audience, message: dict[str, Any], expiry: float | None
    ) -> None:
        check_expiry(expiry)
        require_dict(message)
        keys = self._wiring.keys
        kept = self._wiring.expiry if expiry is None else milliseconds(expiry)
        head, context = head_and_context(keys, Audience(audience.groups), kept)
        encode = self._encode if self._encrypted else None
        what = (message, self._encode(message, context), head, kept, encode)
        outlets = [hub.group_outlet(group) for group in audience.groups]
        await self._group_sending.send(hub, outlets, AudienceLetters(keys, audience, *what), audience.excluded)

    def _make_sync(self) -> SyncLayer:
        return sync_layer(self, RedisChannelLayer, QueueSyncLayer)

    # Life

    async def flush(self) -> None:
        """Drop every message and every membership. Other processes forget theirs as soon as they read of it."""
        hub = self._here()
        hub.flush()
        emptying = [empty(hub, link, self._wiring.keys) for link in await hub.servers.all_links()]
        for error in await asyncio.gather(*emptying, return_exceptions=True):
            if error is not None:  # the others are empty
                raise error

    # Looking

    async def inspect(self) -> dict[str, Any]:
        """What is on the servers: shared channels with depth, age and holders, groups with members, inboxes."""
        hub = self._here()
        return await look(hub, self._wiring.keys)

    @property
    def dead_letters(self) -> Graveyard:
        """The messages that `delivery()` gave up."""
        return Graveyard(self._here, self._wiring)

    # What consumers and workers use

    def reader(self, channel: str) -> ChannelReader:
        names.check_channel_name(channel)
        hub = self._here()
        if not names.is_specific(channel):
            return SharedReader(partial(hub.shared_channel, channel), self._counters)
        inbox = hub.inbox_of(channel)
        mailbox = inbox.local.mailboxes.get(channel) if inbox is not None else None
        return mailbox if mailbox is not None else PumpedReader(lambda: self.receive(channel))

    def delivery(self, channel: str) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Receive one message, acknowledge it when the block is left, give it back if the block raises.

        A message of a shared channel is held on the server meanwhile: if this process dies, another gets it. After an
        exception it comes again after a delay that grows, to the head of its channel, until it was delivered
        `max_deliveries` times; then it is a dead letter. A block that is cancelled gives it back at once, uncounted.
        """
        if isinstance(channel, str) and not names.is_specific(channel):
            return self._shared_delivery(channel)
        return super().delivery(channel)

    @asynccontextmanager
    async def _shared_delivery(self, channel: str) -> AsyncIterator[dict[str, Any]]:
        names.check_channel_name(channel)
        shared = self._here().shared_channel(channel)
        held = await shared.deliver()
        self._counters.received += 1
        try:
            yield held.message
        except (Exception, SystemExit) as error:
            await shared.give_back(held, "max_deliveries", _last_line(error))
            raise
        except GeneratorExit:  # the block was abandoned with its loop: nothing can be awaited, our lease will end
            raise
        except BaseException:
            await shared.give_back(held)
            raise
        await shared.acknowledge(held)

    async def _give_back(self, channel: str, message: dict[str, Any]) -> None:
        if not names.is_specific(channel):
            await self.send(channel, message)  # it was acknowledged: there is no place before the others for it
            return
        inbox = self._here().inbox_of(channel)
        mailbox = inbox.local.mailboxes.get(channel) if inbox is not None else None
        if mailbox is None:
            self._counters.drop("channel_gone")
        else:
            context = self._wiring.keys.channel_context(channel)
            mailbox.put_back((float("inf"), context, self._encode(message, context), None))


def _before(channel: str, outlet: Outlet, expiry: float) -> tuple[Argument, ...]:
    check_expiry(expiry)
    return before_payload(channel, outlet.capacity, milliseconds(expiry))


def _check(group_expiry: float, max_deliveries: int, retry_delay: float, durability: str) -> None:
    """Raise ValueError for an option of the queue that makes no sense."""
    if not group_expiry > 0:
        raise ValueError(f"group_expiry must be more than 0 seconds, not {group_expiry!r}")
    if max_deliveries < 1:
        raise ValueError(f"max_deliveries must be at least 1, not {max_deliveries!r}")
    if retry_delay < 0:
        raise ValueError(f"retry_delay must not be less than 0 seconds, not {retry_delay!r}")
    if durability not in DURABILITIES:
        raise ValueError(f"durability must be one of {', '.join(DURABILITIES)}, not {durability!r}")


def _last_line(error: BaseException) -> str:
    """The last line of the traceback of `error`, without its notes."""
    told = traceback.TracebackException(type(error), error, None)
    told.__notes__ = None  # they follow that line
    *_, line = told.format_exception_only()
    return on_one_line(line.strip()[:500])[:500]
