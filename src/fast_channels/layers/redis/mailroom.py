"""From the entries of an inbox to the mailboxes of its channels, and from there to who receives."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

from fast_channels.layers.local import LocalChannels
from fast_channels.layers.mailbox import SKIPPED, is_worth_a_line
from fast_channels.layers.redis.accounts import Account, Accounts
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["Entry", "Head", "Mailroom", "milliseconds", "pack_head"]

logger = logging.getLogger("fast_channels.redis")

SWEEP_EVERY: Final = 0.05
"""Least seconds between two searches for what has expired."""

HEADS: Final = 10_000
"""Heads whose meaning is remembered; then all are forgotten."""

LONGEST_HEAD: Final = 200
"""Bytes of a head that is remembered: longer ones are nobody's here."""

LONGEST_EXPIRY: Final = 10**14
"""Milliseconds, some thousand years: what is more cannot be waited for."""

Entry = tuple[float, bytes, bytes, Account | None]
"""A message in a mailbox: when it expires (milliseconds on the server's clock), its context, its payload, and for a
direct one the account of its channel."""


class Head(NamedTuple):
    """What precedes a payload in a stream, opened."""

    kind: str
    """`d` direct, `g` to a group, `m` to an audience, `k` control, `f` the layer was flushed; `-` means nothing."""
    expiry: int = 0
    """Milliseconds."""
    name: str = ""
    """The channel, the group or the audience."""
    context: bytes = b""
    """What the payload is encrypted for."""
    audience: Audience | None = None


def milliseconds(seconds: float) -> int:
    """For how long a message is kept, as it stands in a head."""
    return max(1, round(min(seconds, LONGEST_EXPIRY / 1000) * 1000))


def pack_head(kind: str, expiry: int = 0, name: str = "") -> bytes:
    """A head as it stands in a stream."""
    return f"{kind}{expiry}|{name}".encode()


class Mailroom:
    """The channels of one inbox.

    Args:
        client: whose inbox it is.
        on_control: gets the payload and the context of each control entry.
        on_flush: called when the layer was flushed, with the messages that there had been until then.
        on_report: called when the server is to be told what was handed over.
    """

    def __init__(
        self,
        client: str,
        wiring: QueueWiring,
        on_control: Callable[[bytes, bytes], None],
        on_flush: Callable[[int], None],
        on_report: Callable[[], None],
    ) -> None:
        self.local = LocalChannels(
            self._decode, wiring.get_capacity, "drop_newest", wiring.counters, is_stale=self._is_stale
        )
        self.accounts = Accounts(on_report)
        self._client = client
        self._wiring = wiring
        self._counters = wiring.counters
        self._on_control = on_control
        self._on_flush = on_flush
        self._heads: dict[bytes, Head] = {}
        self._decode_payload = wiring.decode
        self._offset = 0.0  # the server's clock less ours, in milliseconds
        self.use(asyncio.get_running_loop())

    def __repr__(self) -> str:
        return f"<Mailroom of {self._client}: {self.local!r}>"

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in `loop`."""
        self._loop = loop
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_due = float("inf")

    def set_clock(self, server: int, asked_at: float) -> None:
        """The server's clock was `server` (milliseconds) between `asked_at` (`time.monotonic()`) and now."""
        self._offset = server - 500 * (asked_at + monotonic())

    # Coming in

    def sort(self, entries: Sequence[tuple[bytes, list[bytes]]]) -> None:
        """Put the messages of `entries` into their mailboxes."""
        for id, fields in entries:
            sent_at = int(id.partition(b"-")[0])
            messages = iter(fields)
            for head, payload in zip(messages, messages, strict=False):
                try:
                    self._deliver(sent_at, self._heads.get(head) or self._open_head(head), payload)
                except Exception as error:  # anybody may write to the server; the reader goes on
                    if is_worth_a_line(self._counters.drop("undecodable")):
                        logger.warning("something in inbox %s is no message: %.200r", self._client, error)

    def _deliver(self, sent_at: int, head: Head, payload: bytes) -> None:
        kind, expiry, name, context, audience = head
        if kind == "g":
            self.local.deliver_group(name, (sent_at + expiry, context, payload, None))
        elif kind == "d":
            mailbox = self.local.mailboxes.get(name)
            if mailbox is None:
                self._counters.drop("channel_gone")
                self.accounts.release(name)
            else:
                mailbox.accept((sent_at + expiry, context, payload, self.accounts.receive(name)), self._loop)
        elif audience is not None:
            self.local.deliver_groups(audience.groups, (sent_at + expiry, context, payload, None), audience.excluded)
        elif kind == "k":
            self._on_control(payload, context)
            return
        elif kind == "f":
            self._on_flush(int(payload))
            return
        elif kind == "-":
            return
        else:
            raise ValueError("a head that means nothing")
        if sent_at + expiry < self._sweep_due:
            self._sweep_at(sent_at + expiry)

    def _open_head(self, data: bytes) -> Head:
        what, _, name = data.decode("ascii").partition("|")
        kind = what[:1]
        keys = self._wiring.keys
        contexts = {"d": keys.channel_context, "g": keys.group, "m": keys.audience_context}
        context = contexts.get(kind, keys.control_context)(name or self._client)
        audience = Audience.unpacked(name) if kind == "m" else None
        head = Head(kind, min(int(what[1:] or 0), LONGEST_EXPIRY), name, context, audience)
        if len(data) <= LONGEST_HEAD and audience is None:  # who is excluded changes all the time
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[data] = head
        return head

    # Handing over

    def _now(self) -> float:
        """Milliseconds on the server's clock."""
        return monotonic() * 1000 + self._offset

    def _is_stale(self, entry: Entry) -> bool:
        return entry[0] <= self._now()

    def _decode(self, entry: Entry) -> Any:
        expires, context, payload, account = entry
        if account is not None:
            self.accounts.hand_over(account)
        if expires <= monotonic() * 1000 + self._offset:
            self._counters.drop("expired")
            return SKIPPED
        return self._decode_payload(payload, context)

    def _sweep_at(self, when: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_due = when
        self._sweeper = self._loop.call_later(max(SWEEP_EVERY, (when - self._now()) / 1000), self._sweep)

    def _sweep(self) -> None:
        """Take out what has expired and nobody asks for: it makes room."""
        self._sweeper = None
        self._sweep_due = soonest = float("inf")
        for mailbox in tuple(self.local.mailboxes.values()):
            if mailbox:
                mailbox.drop_stale()
                if mailbox.head is not None:
                    soonest = min(soonest, mailbox.head[0])
        if soonest < float("inf"):
            self._sweep_at(soonest)

    def clear(self) -> None:
        """Drop all messages, forget all memberships."""
        self.local.clear()
        self.accounts.clear()

    def close(self) -> None:
        """Forget everything, and tell those who wait."""
        self.local.close()
        self.accounts.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
            self._sweep_due = float("inf")
