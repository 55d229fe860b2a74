"""The layer without a server: channels and groups of one process."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from fast_channels import names
from fast_channels.exceptions import ChannelFull, ForeignChannelError, MessageTooLarge, NotSent
from fast_channels.layers.base import BaseChannelLayer, LayerStatistics, raise_unless_all_sent, require_dict
from fast_channels.layers.forking import start_afresh_in_children
from fast_channels.layers.local import LocalChannels, check_overflow_policy
from fast_channels.layers.made import channel_made, channel_released
from fast_channels.layers.mailbox import SKIPPED, Counters, Mailbox
from fast_channels.layers.reader import ChannelReader
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of
from fast_channels.layers.sync import DirectSyncLayer, SyncLayer, sync_layer
from fast_channels.serializers import MsgPackSerializer
from fast_channels.type_defs import ChannelCapacityDict, OverflowPolicy

__all__ = ["InMemoryChannelLayer"]

logger = logging.getLogger("fast_channels.layers")

Value = TypeVar("Value")

NEVER = float("inf")

Entry = tuple[float, bytes]
"""When the message expires (on the monotonic clock), and the message."""


class InMemoryChannelLayer(BaseChannelLayer):
    """Channels and groups of this process, for development, tests and applications of one process.

    A message comes out as it would over the wire: encoded at the send, decoded for each receiver. Any number of event
    loops and threads may use one layer; a message wakes its receiver in the receiver's loop.

    Delivery is at most once and ends with the process. `send` to a full channel raises `ChannelFull`; a group's message
    is dropped (or what `overflow` says) for the member that is full, alone.

    Args:
        expiry: seconds after which a message that nobody received is dropped.
        group_expiry: seconds after which a channel on which nobody received anything loses its memberships.
        capacity: messages that a channel holds.
        channel_capacity: globs or compiled patterns with capacities of their own; the first that matches wins.
        overflow: what a group's message does to a member that is full: `drop_newest` (it is dropped), `drop_oldest` (it
            takes the place of the oldest), `close` (the channel is emptied and its receiver gets `MailboxOverflow`).
        max_message_size: bytes of the largest message, encoded; None for 16 MiB.
    """

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: ChannelCapacityDict | None = None,
        *,
        overflow: OverflowPolicy = "drop_newest",
        max_message_size: int | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        self._limit_size(max_message_size)
        check_overflow_policy(overflow)
        if not group_expiry > 0:
            raise ValueError(f"group_expiry must be more than 0 seconds, not {group_expiry!r}")
        self.group_expiry = group_expiry
        self._overflow: OverflowPolicy = overflow
        self._serializer = MsgPackSerializer()
        self._from_bytes = self._serializer.from_bytes
        self._counters = Counters()
        self._start_afresh()
        start_afresh_in_children(self)

    def _start_afresh(self) -> None:
        """Take a new identity: at the beginning, and in a forked child, whose lock a thread of the parent may hold."""
        self.client_prefix = uuid4().hex
        self._local = LocalChannels(self._decode, self.get_capacity, self._overflow, self._counters, _is_expired)
        self._patrol: deque[Mailbox] = deque()  # who was looked at longest ago comes first
        self._lock = threading.RLock()  # held while names change; again by a log handler that sends through the layer

    def _after_fork(self) -> None:
        self._start_afresh()

    def __repr__(self) -> str:
        return f"<InMemoryChannelLayer: {len(self._local.mailboxes)} channels, {len(self._local.groups)} groups>"

    # Sending and receiving

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        if not isinstance(channel, str) or channel not in self._local.mailboxes:
            names.check_channel_name(channel)
        self._put(channel, self._entry(message, expiry))

    async def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]], *, expiry: float | None = None) -> None:
        check_expiry(expiry)
        entries = []
        for channel, message in pairs_of(messages):
            names.check_channel_name(channel)
            entries.append((channel, self._entry(message, expiry)))
        failures = []
        for index, (channel, entry) in enumerate(entries):
            try:
                self._put(channel, entry)
            except ChannelFull as error:
                failures.append(NotSent(index, channel, error))
        raise_unless_all_sent(failures, len(entries))

    def _put(self, channel: str, entry: Entry) -> None:
        with self._lock:
            mailbox = self._local.mailboxes.get(channel)
            if mailbox is None:
                if names.is_specific(channel):
                    self._counters.drop("channel_gone")
                    return
                mailbox = self._open(channel)
            if not mailbox.offer(entry):
                raise ChannelFull(channel=channel, capacity=self.get_capacity(channel))
            self._counters.sent += 1

    async def receive(self, channel: str) -> dict[str, Any]:
        mailbox = self._local.mailboxes.get(channel) if isinstance(channel, str) else None
        if mailbox is None or "!" not in channel:
            return await self._receive_shared(channel)
        mailbox.used = True
        message: dict[str, Any] = await mailbox.receive()
        return message

    async def _receive_shared(self, channel: str) -> dict[str, Any]:
        """Receive on a channel that is kept only for as long as somebody reads it, or begin to receive on any."""
        mailbox = self._reading(channel)
        try:
            message: dict[str, Any] = await mailbox.receive()
        finally:
            mailbox.readers -= 1
            if not mailbox.readers and not mailbox.groups:
                with self._lock:
                    self._retire(mailbox)
        return message

    async def new_channel(self, prefix: str = "specific") -> str:
        channel = names.specific_name(prefix, self.client_prefix, os.urandom(8).hex())
        names.check_channel_name(channel)
        with self._lock:
            self._open(channel)
        channel_made(self, channel)
        return channel

    async def release_channel(self, channel: str) -> None:
        names.check_channel_name(channel)
        channel_released(channel)
        with self._lock:
            self._local.release(channel)

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        names.check_group_name(group)
        names.check_channel_name(channel)
        with self._lock:
            mailbox = self._local.mailboxes.get(channel)
            if mailbox is None:
                if names.is_specific(channel):
                    return  # it was released, or this process never made it
                mailbox = self._open(channel)
            self._local.join(group, mailbox)

    async def group_discard(self, group: str, channel: str) -> None:
        names.check_group_name(group)
        names.check_channel_name(channel)
        with self._lock:
            self._local.leave(group, channel)

    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        if isinstance(group, str) and not exclude:
            names.check_group_name(group)
            entry = self._entry(message, expiry)
            with self._lock:
                self._local.deliver_group(group, entry)
                self._counters.group_sent += 1
            return
        groups, excluded = groups_of(group), excluded_channels(exclude)
        entry = self._entry(message, expiry)
        with self._lock:
            self._local.deliver_groups(groups, entry, excluded)
            self._counters.group_sent += 1

    # Life

    async def flush(self) -> None:
        with self._lock:
            self._local.clear()

    async def close(self) -> None:
        with self._lock:
            self._local.close()
            self._patrol.clear()
        self._close_sync()

    def _make_sync(self) -> SyncLayer:
        return sync_layer(self, InMemoryChannelLayer, DirectSyncLayer)

    # Looking

    def statistics(self) -> LayerStatistics:
        counters = self._counters
        return LayerStatistics(counters.sent, counters.group_sent, counters.received, dict(counters.dropped))

    async def inspect(self) -> dict[str, Any]:
        return {
            "layer": "in-memory",
            "channels": self._depths(),
            "groups": {group: list(members) for group, members in self.groups.items()},
        }

    @property
    def channels(self) -> Mapping[str, list[dict[str, Any]]]:
        """The messages that wait, by channel: a live view that lists a channel while a message waits in it."""
        return _View(self._depths, self._messages)

    @property
    def groups(self) -> Mapping[str, dict[str, int]]:
        """The members of each group, with how many messages wait for each: a live view."""
        return _View(lambda: self._local.groups, self._members)

    def _depths(self) -> dict[str, int]:
        for mailbox in tuple(self._local.mailboxes.values()):
            mailbox.drop_stale()
        return dict(self._local.queued())

    def _messages(self, channel: str) -> list[dict[str, Any]]:
        mailbox = self._local.mailboxes[channel]
        mailbox.drop_stale()
        if not mailbox:
            raise KeyError(channel)
        return mailbox.peek()

    def _members(self, group: str) -> dict[str, int]:
        return {mailbox.channel: len(mailbox) for mailbox in self._local.groups[group].mailboxes}

    # What consumers and workers use

    def reader(self, channel: str) -> ChannelReader:
        return self._reading(channel)

    async def _give_back(self, channel: str, message: dict[str, Any]) -> None:
        entry = NEVER, self._serializer.serialize(message)
        with self._lock:
            if names.is_specific(channel) and channel not in self._local.mailboxes:
                self._counters.drop("channel_gone")
            else:
                self._open(channel).put_back(entry)

    # Entries

    def _entry(self, message: dict[str, Any], expiry: float | None) -> Entry:
        if expiry is None:
            expiry = self.expiry
        else:
            check_expiry(expiry)
        require_dict(message)
        payload = self._serializer.serialize(message)
        if len(payload) > self.max_message_size:
            raise MessageTooLarge(size=len(payload), limit=self.max_message_size)
        return time.monotonic() + expiry, payload

    def _decode(self, entry: Entry) -> Any:
        expires, payload = entry
        if expires < time.monotonic():
            self._counters.drop("expired")
            return SKIPPED
        try:
            return self._from_bytes(payload)
        except Exception as error:  # few things can be encoded and not decoded, such as a dataclass that is a key
            self._counters.drop("undecodable")
            logger.warning("a message cannot be decoded again (%r)", error)
            return SKIPPED

    # Channels

    def _reading(self, channel: str) -> Mailbox:
        """The mailbox of a channel of this process. It is kept until its reader closes it."""
        with self._lock:
            mailbox = self._local.mailboxes.get(channel) if isinstance(channel, str) else None
            if mailbox is None:
                names.check_channel_name(channel)
                if names.is_specific(channel) and names.client_of(channel) != self.client_prefix:
                    raise ForeignChannelError(channel)
                mailbox = self._open(channel)
            mailbox.readers += 1
            mailbox.used = True
        return mailbox

    # The following are called with the lock held.

    def _open(self, channel: str) -> Mailbox:
        self._sweep()
        mailbox = self._local.mailboxes.get(channel)
        if mailbox is None:
            mailbox = self._local.open(channel)
            self._patrol.append(mailbox)
        return mailbox

    def _retire(self, mailbox: Mailbox) -> None:
        """Forget a shared channel in which nothing waits, which nobody reads, and which is in no group."""
        if mailbox or mailbox.readers or mailbox.groups or names.is_specific(mailbox.channel):
            return
        if self._is_here(mailbox):
            del self._local.mailboxes[mailbox.channel]

    def _is_here(self, mailbox: Mailbox) -> bool:
        return self._local.mailboxes.get(mailbox.channel) is mailbox

    def _sweep(self) -> None:
        """Look at the two channels that were looked at longest ago: what nobody came for does not pile up.

        Each new channel pays for two old ones, so that no call ever goes through all of them.
        """
        patrol = self._patrol
        for mailbox in [patrol.popleft() for _ in range(min(2, len(patrol)))]:
            mailbox.drop_stale()
            if not self._is_here(mailbox):
                continue
            if self._is_abandoned(mailbox):
                self._local.release(mailbox.channel)
            self._retire(mailbox)
            if self._is_here(mailbox):
                patrol.append(mailbox)

    def _is_abandoned(self, mailbox: Mailbox) -> bool:
        now = time.monotonic()
        if mailbox.used or mailbox.readers or mailbox.waiting:
            mailbox.used = False
            mailbox.idle_since = now
        return now - mailbox.idle_since > self.group_expiry


def _is_expired(entry: Entry) -> bool:
    return entry[0] < time.monotonic()


class _View(Mapping[str, Value]):
    """What looks like a dict, and is looked up at each access."""

    def __init__(self, keys: Callable[[], Collection[str]], look: Callable[[str], Value]) -> None:
        self._keys = keys
        self._look = look

    def __getitem__(self, key: str) -> Value:
        return self._look(key)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._keys()))

    def __len__(self) -> int:
        return len(self._keys())

    def __repr__(self) -> str:
        return repr(dict(self))
