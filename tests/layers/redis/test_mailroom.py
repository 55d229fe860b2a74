"""From the entries of an inbox to its mailboxes: no server, and a clock that the test sets."""

import asyncio
import logging
from time import monotonic
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_channels.exceptions import ChannelLayerClosed
from fast_channels.layers.mailbox import SKIPPED, Counters
from fast_channels.layers.reader import EMPTY
from fast_channels.layers.redis import mailroom as module
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.mailroom import Mailroom, milliseconds, pack_head
from fast_channels.layers.redis.wiring import QueueWiring
from fast_channels.serializers import MsgPackSerializer
from tests.support.waiting import until

NOW = 1_700_000_000_000
"""Milliseconds on the server's clock."""

A, B = "s.owner!a", "s.owner!b"


class Room:
    """A mailroom whose messages are `(payload, context)`, and what it asked for."""

    def __init__(self, capacity: int = 3) -> None:
        self.counters = Counters()
        self.controls: list[tuple[bytes, bytes]] = []
        self.flushes: list[int] = []
        self.reports = 0
        wiring = QueueWiring(
            topology=cast(Any, None),
            keys=QueueKeys("asgi"),
            patience=Patience(),
            counters=self.counters,
            control=MsgPackSerializer(),
            decode=self.decode,
            get_capacity=lambda channel: capacity,
            expiry=60_000,
            group_expiry=60_000,
            max_deliveries=5,
            retry_delay=0.5,
        )
        self.room = Mailroom("owner", wiring, self.control, self.flushes.append, self.report)
        self.local = self.room.local
        self.set_time(NOW)
        self.id = 0

    def decode(self, payload: bytes, context: bytes) -> Any:
        return SKIPPED if payload == b"garbage" else (payload.decode(), context)

    def control(self, payload: bytes, context: bytes) -> None:
        if payload == b"garbage":
            raise ValueError("garbage")
        self.controls.append((payload, context))

    def report(self) -> None:
        self.reports += 1

    def set_time(self, now: int) -> None:
        self.room.set_clock(now, monotonic())

    def arrive(self, *messages: tuple[bytes, bytes], sent_at: int = NOW) -> None:
        """One entry of the stream with all `messages`."""
        self.id += 1
        self.room.sort([(b"%d-%d" % (sent_at, self.id), [part for message in messages for part in message])])

    def take_all(self, channel: str) -> list[str]:
        payloads = []
        while (message := self.local.mailboxes[channel].take()) is not EMPTY:
            payloads.append(message[0])
        return payloads

    def totals(self) -> tuple[set[str], dict[str, int]]:
        """What the server is told: the channels that are gone, and how much was handed over."""
        gone, changed = self.room.accounts.take()
        return set(gone), {account.channel: account.handed for account in changed}


@pytest.fixture
async def room() -> Room:
    room = Room()
    for channel in (A, B):
        room.local.open(channel)
    return room


def direct(payload: str, channel: str = A, expiry: int = 60_000) -> tuple[bytes, bytes]:
    return pack_head("d", expiry, channel), payload.encode()


def to_group(payload: str, group: str = "room", expiry: int = 60_000) -> tuple[bytes, bytes]:
    return pack_head("g", expiry, group), payload.encode()


# Heads


@pytest.mark.parametrize(
    ("made_of", "head"),
    [
        (("d", 60_000, A), b"d60000|s.owner!a"),
        (("g", 1, "room"), b"g1|room"),
        (("m", 5, "room,hall|s.x!1"), b"m5|room,hall|s.x!1"),
        (("k",), b"k0|"),
        (("f",), b"f0|"),
    ],
)
def test_heads_read_as_what_they_are(made_of: Any, head: bytes) -> None:
    assert pack_head(*made_of) == head


async def test_the_heads_that_are_remembered_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEADS", 5)
    for number in range(23):
        room.arrive(direct(str(number), expiry=60_000 + number))
        assert len(room.room._heads) <= 5
    assert room.take_all(A) == [str(number) for number in range(23)]


@pytest.mark.parametrize(
    ("seconds", "kept"), [(60, 60_000), (0.5, 500), (1e-9, 1), (1e300, 10**14), (float("inf"), 10**14)]
)
def test_a_time_is_kept_in_milliseconds_and_is_never_none_or_endless(seconds: float, kept: int) -> None:
    assert milliseconds(seconds) == kept


# Coming in


async def test_a_message_to_several_groups_reaches_who_is_in_any_of_them_once(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.local.join("hall", room.local.mailboxes[A])
    room.local.join("hall", room.local.mailboxes[B])
    audience = Audience(("room", "hall"))
    room.arrive((pack_head("m", 60_000, audience.packed()), b"1"), to_group("2"))
    room.arrive((pack_head("m", 60_000, Audience(("hall",), frozenset({A})).packed()), b"3"))
    room.arrive((pack_head("m", 60_000, Audience(("room", "hall"), frozenset({A, B})).packed()), b"4"))
    room.arrive((pack_head("m", 0, audience.packed()), b"5"))
    assert room.take_all(A) == ["1", "2"]
    message = room.local.mailboxes[B].take()
    assert message == ("1", QueueKeys("asgi").audience_context("room,hall|"))
    assert room.take_all(B) == ["3"]
    assert room.counters.dropped == {"expired": 2}


async def test_a_head_that_names_an_audience_is_not_remembered(room: Room) -> None:
    for number in range(10):
        room.arrive((f"m60000|room|s.x!{number}".encode(), b"1"))
    assert len(room.room._heads) == 0


async def test_an_audience_without_end_is_no_message(room: Room) -> None:
    room.arrive((b"m60000|room", b"1"), (b"m|", b"2"), (b"mx|room|", b"3"), (b"m60000|\xff|", b"4"), direct("5"))
    assert room.take_all(A) == ["5"]
    assert room.counters.dropped == {"undecodable": 4}


async def test_messages_go_to_their_mailboxes_in_their_order(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(direct("1"), direct("2", B), to_group("3"))
    room.arrive(direct("4"))
    assert room.take_all(A) == ["1", "3", "4"]
    assert room.take_all(B) == ["2"]
    assert room.counters.dropped == {}


async def test_a_message_is_opened_for_what_it_was_sent_to(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(direct("x"), to_group("y"))
    mailbox = room.local.mailboxes[A]
    assert [mailbox.take(), mailbox.take()] == [("x", b"asgi|{c:s.owner!a}"), ("y", b"asgi|{g:room}|members")]


async def test_a_message_for_a_channel_that_is_gone_is_counted_and_the_server_is_told(room: Room) -> None:
    room.arrive(direct("x", "s.owner!gone"), direct("y"))
    assert room.counters.dropped == {"channel_gone": 1}
    assert room.totals() == ({"s.owner!gone"}, {})
    assert room.take_all(A) == ["y"]


async def test_a_message_for_a_group_that_nobody_here_is_in_is_nobodys(room: Room) -> None:
    room.arrive(to_group("x"))
    assert room.counters.dropped == {}


async def test_control_entries_and_flushes_go_to_who_handles_them(room: Room) -> None:
    room.arrive((pack_head("k"), b"request"), (pack_head("f"), b"17"), (b"-", b""))
    assert room.controls == [(b"request", b"asgi|{i:owner}")]
    assert room.flushes == [17]
    assert room.counters.dropped == {}


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        (b"", b""),
        (b"x", b""),
        (b"x1|a", b""),
        (b"D1|a", b""),
        (b"d|", b"x"),
        (b"dx|s.owner!a", b"x"),
        (b"d1.5|s.owner!a", b"x"),
        (b"d\xff|s.owner!a", b"x"),
        (b"g1|\xff", b"x"),
        (pack_head("f"), b"many"),
        (pack_head("f"), b""),
        (pack_head("k"), b"garbage"),
    ],
)
async def test_what_is_no_message_is_counted_and_stops_nothing(room: Room, head: bytes, payload: bytes) -> None:
    """Anybody may write to the server."""
    room.arrive(direct("before"), (head, payload), direct("after"))
    assert room.take_all(A) == ["before", "after"]
    assert sum(room.counters.dropped.values()) == 1
    assert set(room.counters.dropped) <= {"undecodable", "channel_gone"}
    assert (room.controls, room.flushes) == ([], [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=8))
async def test_no_garbage_gets_through_or_in_the_way(room: Room, garbage: list[tuple[bytes, bytes]]) -> None:
    room.arrive(*garbage, direct("after"))
    assert room.take_all(A) == ["after"]


async def test_a_flood_of_garbage_is_a_few_lines(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fast_channels.redis")
    room.arrive(*[(b"", b"")] * 1000)
    assert len(caplog.records) == 10
    assert caplog.messages[0] == "something in inbox owner is no message: ValueError('a head that means nothing')"


# Capacity


async def test_direct_messages_have_their_place_whatever_the_capacity(room: Room) -> None:
    """There was room when they were accepted; the server counts them."""
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(*[to_group(f"g{number}") for number in range(9)], *[direct(f"d{number}") for number in range(5)])
    assert room.take_all(A) == ["g0", "g1", "g2", "d0", "d1", "d2", "d3", "d4"]


async def test_group_messages_are_dropped_at_the_capacity_for_that_channel_alone(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fast_channels.layers")
    for channel in (A, B):
        room.local.join("room", room.local.mailboxes[channel])
    room.arrive(*[direct(f"d{number}") for number in range(3)], *[to_group(f"g{number}") for number in range(2)])
    assert room.take_all(A) == ["d0", "d1", "d2"]
    assert room.take_all(B) == ["g0", "g1"]
    assert room.counters.dropped == {"over_capacity": 2}
    assert caplog.messages == ["1 of 2 channels over capacity in group room"]


# Expiry


@pytest.mark.parametrize(("age", "handed"), [(0, True), (59_000, True), (60_000, False), (10**9, False)])
async def test_a_message_that_is_older_than_its_expiry_is_not_handed_over(
    room: Room, age: int, *, handed: bool
) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(direct("d"), to_group("g"))
    room.set_time(NOW + age)
    assert room.take_all(A) == (["d", "g"] if handed else [])
    assert room.counters.dropped == ({} if handed else {"expired": 2})


async def test_the_senders_expiry_counts(room: Room) -> None:
    room.arrive(direct("short", expiry=1_000), direct("long", expiry=90_000), direct("none", expiry=0))
    room.set_time(NOW + 30_000)
    assert room.take_all(A) == ["long"]


async def test_what_has_expired_at_the_head_makes_room_for_the_group(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(*[to_group(f"old{number}") for number in range(3)])
    room.set_time(NOW + 60_000)
    room.arrive(to_group("new"), sent_at=NOW + 60_000)
    assert room.take_all(A) == ["new"]
    assert room.counters.dropped == {"expired": 3}


@pytest.mark.parametrize("first", [60_000, 0], ids=["behind a longer one", "alone"])
async def test_what_has_expired_is_taken_out_though_nobody_asks(room: Room, first: int) -> None:
    """So its sender finds room again; a message that expires sooner than others is not late."""
    if first:
        room.arrive(direct("long", B, first))
    room.arrive(direct("short", A, 30))
    await until(lambda: room.counters.dropped == {"expired": 1})
    assert room.totals() == (set(), {A: 1})
    assert len(room.local.mailboxes[A]) == 0
    assert len(room.local.mailboxes[B]) == bool(first)


async def test_taking_out_goes_on_as_long_as_something_waits(room: Room) -> None:
    room.arrive(direct("1", A, 10), direct("2", B, 150), direct("3", A, 10**12))
    await until(lambda: room.counters.dropped == {"expired": 2})
    assert len(room.local.mailboxes[A]) == 1


# The accounts


async def test_what_is_handed_over_or_expires_is_told_to_the_server(room: Room) -> None:
    room.arrive(direct("1"), direct("2"), direct("3"), direct("4", B, 1))
    assert room.reports == 0
    assert room.local.mailboxes[A].take()[0] == "1"
    assert room.reports == 1
    room.set_time(NOW + 1_000)
    assert room.take_all(B) == []
    assert room.reports == 1
    assert room.totals() == (set(), {A: 1, B: 1})


async def test_what_cannot_be_read_is_handed_over_all_the_same(room: Room) -> None:
    """It takes no room any more."""
    room.arrive(direct("garbage"), direct("x"))
    assert room.take_all(A) == ["x"]
    assert room.totals() == (set(), {A: 2})


async def test_group_messages_are_in_no_account(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(to_group("x"))
    assert room.take_all(A) == ["x"]
    assert room.totals() == (set(), {})


async def test_what_is_put_back_is_handed_over_once(room: Room) -> None:
    room.arrive(direct("x"))
    room.take_all(A)
    room.local.mailboxes[A].put_back((float("inf"), b"", b"x", None))
    room.set_time(NOW + 10**9)
    assert room.take_all(A) == ["x"]
    assert room.totals() == (set(), {A: 1})


# The end


async def test_after_a_flush_nothing_waits_and_nobody_is_a_member(room: Room) -> None:
    room.local.join("room", room.local.mailboxes[A])
    room.arrive(direct("x"), to_group("y"))
    room.room.clear()
    room.arrive(to_group("z"))
    assert room.take_all(A) == []
    assert room.totals() == (set(), {})
    room.arrive(direct("new"))
    assert room.take_all(A) == ["new"]


async def test_closing_tells_who_waits_and_leaves_no_timer(room: Room) -> None:
    receiving = asyncio.create_task(room.local.mailboxes[B].receive())
    await asyncio.sleep(0)
    room.arrive(direct("x", expiry=10))
    room.room.close()
    with pytest.raises(ChannelLayerClosed):
        await receiving
    await asyncio.sleep(0.08)
    assert room.counters.dropped == {}


async def test_a_mailroom_shows_what_it_holds(room: Room) -> None:
    assert repr(room.room) == "<Mailroom of owner: <LocalChannels: 2 channels, 0 groups>>"
