"""A channel's bounded queue in this process, with what happens when it is full."""

import asyncio
import time
from asyncio import AbstractEventLoop, Future, _get_running_loop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from fast_channels.exceptions import ChannelReleased, FastChannelsError, MailboxOverflow
from fast_channels.layers.reader import EMPTY, ChannelReader
from fast_channels.type_defs import OverflowPolicy

__all__ = ["OVERFLOW_POLICIES", "SKIPPED", "Counters", "Mailbox", "is_worth_a_line"]

OVERFLOW_POLICIES: Final = ("drop_newest", "drop_oldest", "close")

LOOK_EVERY: Final = 1.0
"""Least seconds between two searches of a full mailbox for what has expired behind something that has not."""

SKIPPED: Final = object()
"""What a decoder returns for an entry that must not be handed over (expired, or no message); it has counted it."""


class Counters:
    """What went through a layer in this process, and what was dropped, by reason."""

    __slots__ = (
        "dead_lettered",
        "disconnections",
        "dropped",
        "group_sent",
        "received",
        "reconnections",
        "redelivered",
        "restored",
        "sent",
    )

    def __init__(self) -> None:
        self.sent = 0
        self.group_sent = 0
        self.received = 0
        self.redelivered = 0
        self.dead_lettered = 0
        self.restored = 0
        self.disconnections = 0
        self.reconnections = 0
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str, count: int = 1) -> int:
        """Count `count` messages dropped for `reason`, and return how many that were in all."""
        total = self.dropped[reason] = self.dropped.get(reason, 0) + count
        return total

    def plus(self, other: "Counters") -> "Counters":
        """What went through both."""
        total = Counters()
        for name in Counters.__slots__:
            if name != "dropped":
                setattr(total, name, getattr(self, name) + getattr(other, name))
        for counters in (self, other):
            for reason, count in tuple(counters.dropped.items()):
                total.drop(reason, count)
        return total


def is_worth_a_line(total: int) -> bool:
    """Whether the log mentions a drop that made `total`: the 1st, 2nd, 4th, 8th, …, so that a flood is a few lines."""
    return total & (total - 1) == 0


class Mailbox(ChannelReader):
    """The messages of one channel that wait for its receivers, at most `capacity` of them, in encoded form.

    It is the channel's `ChannelReader`. An entry is decoded when it is taken, so that every receiver gets its own copy
    and a message that is dropped costs nothing.

    Cancellation: a waiter that was woken and gives up wakes the next one; entries are only ever removed by `take()`.

    Threads: any thread may `put`; a waiter is woken in its own loop. A waiter is added before the entries are looked at
    again, and an entry before the waiters are, so that one of the two always sees the other.
    """

    __slots__ = (
        "_counters",
        "_decode",
        "_end",
        "_entries",
        "_is_stale",
        "_look_again",
        "_waiters",
        "capacity",
        "channel",
        "full",
        "groups",
        "idle_since",
        "policy",
        "readers",
        "used",
    )

    def __init__(
        self,
        channel: str,
        capacity: int,
        policy: OverflowPolicy,
        decode: Callable[[Any], Any],
        counters: Counters,
        is_stale: Callable[[Any], bool] | None = None,
    ) -> None:
        self.channel = channel
        self.capacity = capacity
        self.policy = policy
        self.groups: set[str] = set()
        self.full = False
        """Whether an episode of being full is under way; who delivers here keeps it."""
        self.readers = 0
        """How many hold it to read: until they close it, its owner keeps it."""
        self.used = True
        """Set by who receives here, cleared by who looks for mailboxes that nobody needs."""
        self.idle_since = 0.0
        """Since when it was not used, on the clock of who looks."""
        self._decode = decode
        self._counters = counters
        self._is_stale = is_stale
        self._look_again = 0.0  # when all entries may be looked at again, on the monotonic clock
        self._entries: deque[Any] = deque()
        self._waiters: list[Future[None]] = []
        self._end: Callable[[], FastChannelsError] | None = None  # what receivers are told when the last entry is taken

    def __repr__(self) -> str:
        return f"<Mailbox {self.channel!r}: {len(self._entries)} of {self.capacity}, {len(self._waiters)} waiting>"

    def __len__(self) -> int:
        return len(self._entries)

    # Coming in

    def put(self, entry: Any, here: AbstractEventLoop | None = None) -> bool:
        """Queue `entry`; if the mailbox is full, do as the policy says. False if that was so.

        `here` is the running event loop, for who puts into many and need not ask for it each time.
        """
        entries = self._entries
        if len(entries) >= self.capacity:
            return self._overflow(entry)
        entries.append(entry)
        if self._waiters:
            self._wake(here)
        return True

    def accept(self, entry: Any, here: AbstractEventLoop | None = None) -> None:
        """Queue `entry` whatever the capacity: there was room for it when it was accepted elsewhere."""
        self._entries.append(entry)
        if self._waiters:
            self._wake(here)

    def offer(self, entry: Any) -> bool:
        """Queue `entry` if there is room, whatever the policy; False if there is none."""
        entries = self._entries
        if len(entries) >= self.capacity and not self._make_room():
            return False
        entries.append(entry)
        if self._waiters:
            self._wake()
        return True

    def has_drained(self) -> bool:
        """Whether half of it is free: an episode of being full is over, not only interrupted by one message taken."""
        return 2 * len(self._entries) <= self.capacity + 1

    def put_back(self, entry: Any) -> None:
        """Put what was taken back to the head; it was accepted before, so no capacity is asked."""
        self._entries.appendleft(entry)
        self._wake()

    def _overflow(self, entry: Any) -> bool:
        if self._make_room():
            return self.put(entry)
        self._counters.drop("over_capacity")
        if self.policy == "drop_oldest":
            with suppress(IndexError):  # its receiver, in another thread, was faster
                self._entries.popleft()
            self._entries.append(entry)
        elif self.policy == "close" and self._end is None:
            self._counters.drop("over_capacity", self.clear())
            self._end = partial(self._tell_overflow, self.capacity)
            self.capacity = 0  # nothing gets in until the receiver knows
            while self._waiters:
                self._wake()
        return False

    def _tell_overflow(self, capacity: int) -> MailboxOverflow:
        """What receivers are told, once: those who wait now; then they may go on, or close as a consumer does."""
        here = _get_running_loop()
        if here is None:
            self._reopen(self._end, capacity)
        else:
            here.call_soon(self._reopen, self._end, capacity)
        return MailboxOverflow(self.channel, capacity)

    def _reopen(self, end: object, capacity: int) -> None:
        if end is self._end:  # it may have been shut meanwhile
            self._end = None
            self.capacity = capacity

    def take_over(self, other: "Mailbox") -> None:
        """Put what waits in `other` before what is here."""
        self._entries.extendleft(reversed(other._entries))
        self._wake()

    # Going out

    def take(self) -> Any:
        entries = self._entries
        while entries:
            message = self._decode(entries.popleft())
            if message is not SKIPPED:
                self._counters.received += 1
                return message
        if self._end is not None:
            raise self._end()
        return EMPTY

    async def receive(self, here: AbstractEventLoop | None = None) -> Any:
        """The next message, as soon as there is one. `here` is the running event loop, for who knows it anyway."""
        while (message := self.take()) is EMPTY:
            waiter = (here or asyncio.get_running_loop()).create_future()
            self.add_waiter(waiter)
            try:
                await waiter  # who resolves it has taken it off the list
            except BaseException:
                self.discard_waiter(waiter)
                raise
        return message

    def add_waiter(self, waiter: "Future[None]") -> None:
        self._waiters.append(waiter)
        if self._entries or self._end is not None:
            self._wake()

    def discard_waiter(self, waiter: "Future[None]") -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif self._entries and self._waiters:
            self._wake()

    def close(self) -> None:
        """One reader less. The mailbox outlives its readers; it ends when its channel is released."""
        self.readers -= 1

    def shut(self, reason: type[ChannelReleased]) -> int:
        """End it: drop what is queued, tell who waits or comes later why, and say how many messages were dropped."""
        self._end = partial(reason, self.channel)
        dropped = self.clear()
        while self._waiters:
            self._wake()
        return dropped

    def drop_stale(self) -> bool:
        """Drop what is too old to be handed over from the head; True if there was any. The decoder counts it."""
        entries, is_stale = self._entries, self._is_stale
        dropped = False
        while is_stale is not None and entries and is_stale(head := entries[0]):
            dropped |= self._drop_one(head)
        return dropped

    def _drop_one(self, entry: Any) -> bool:
        with suppress(ValueError):  # its receiver, in another thread, was faster, and has counted it
            self._entries.remove(entry)
            self._decode(entry)
            return True
        return False

    def _make_room(self) -> bool:
        """Drop what is too old, wherever it stands; True if there was any. Not everything is looked at all the time."""
        if self.drop_stale():
            return True
        is_stale, now = self._is_stale, time.monotonic()
        if is_stale is None or now < self._look_again:
            return False
        self._look_again = now + LOOK_EVERY
        dropped = [self._drop_one(entry) for entry in tuple(self._entries) if is_stale(entry)]
        return any(dropped)

    @property
    def head(self) -> Any:
        """The entry that is taken next, left where it is; None without any."""
        return self._entries[0] if self._entries else None

    def peek(self) -> list[Any]:
        """What is queued and not too old, decoded, left where it is."""
        is_stale = self._is_stale
        entries = [entry for entry in tuple(self._entries) if is_stale is None or not is_stale(entry)]
        return [message for entry in entries if (message := self._decode(entry)) is not SKIPPED]

    def clear(self) -> int:
        """Drop what is queued and say how many messages that were."""
        dropped = len(self._entries)
        self._entries.clear()
        return dropped

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a message."""
        return bool(self._waiters)

    def _wake(self, here: AbstractEventLoop | None = None) -> None:
        """Resolve the waiter that has waited longest, in its own loop."""
        waiters = self._waiters
        if here is None:
            here = _get_running_loop()
        while waiters:
            waiter = waiters.pop(0)
            if waiter.done():
                continue
            if waiter.get_loop() is here:
                waiter.set_result(None)
                return
            if _resolve_elsewhere(waiter):
                return


def _resolve_elsewhere(waiter: "Future[None]") -> bool:
    """Resolve `waiter` in its loop; False if that loop is closed, and its waiter with it."""
    try:
        waiter.get_loop().call_soon_threadsafe(_resolve, waiter)
    except RuntimeError:
        return False
    return True


def _resolve(waiter: "Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
