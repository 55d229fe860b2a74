"""What the in-memory layer does beyond the contract: its clock, what it forgets and what not, threads, views."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull, ChannelLayerClosed, ForeignChannelError, MailboxOverflow
from fast_channels.layers import InMemoryChannelLayer, in_memory
from fast_channels.layers.mailbox import LOOK_EVERY, Mailbox
from tests.support.waiting import until


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(in_memory, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def layer() -> InMemoryChannelLayer:
    return InMemoryChannelLayer(capacity=3)


def mailboxes(layer: InMemoryChannelLayer) -> int:
    """How many channels the layer knows, as its repr says."""
    return int(repr(layer).split()[1])


async def receiving(layer: InMemoryChannelLayer, channel: str) -> "asyncio.Task[dict[str, Any]]":
    """A task that waits for a message."""
    task = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0)
    return task


# What it is made with


def test_arguments_have_the_order_and_the_defaults_that_users_know() -> None:
    layer = InMemoryChannelLayer()
    assert (layer.expiry, layer.group_expiry, layer.capacity, layer.channel_capacity) == (60, 86400, 100, [])
    layer = InMemoryChannelLayer(1, 2, 3, {"a": 4})
    assert (layer.expiry, layer.group_expiry, layer.capacity, layer.get_capacity("a")) == (1, 2, 3, 4)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_expiry_of_groups_is_a_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="group_expiry must be more than 0 seconds"):
        InMemoryChannelLayer(group_expiry=seconds)


def test_an_unknown_overflow_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="overflow must be one of drop_newest, drop_oldest, close"):
        InMemoryChannelLayer(overflow="drop")  # type: ignore[arg-type]


async def test_a_channel_of_another_layer_is_foreign(layer: InMemoryChannelLayer) -> None:
    foreign = await InMemoryChannelLayer().new_channel()
    with pytest.raises(ForeignChannelError, match=foreign):
        await layer.receive(foreign)
    with pytest.raises(AssertionError):
        layer.reader(foreign)


async def test_what_is_sent_to_a_foreign_channel_is_counted_and_not_kept(layer: InMemoryChannelLayer) -> None:
    await layer.send(await InMemoryChannelLayer().new_channel(), {})
    assert layer.statistics().dropped == {"channel_gone": 1}
    assert mailboxes(layer) == 0


# Expiry


async def test_a_message_is_handed_over_up_to_its_expiry_and_not_later(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("jobs", {"n": 1})
    clock.now += 30
    await layer.send("jobs", {"n": 2})
    clock.now += 31
    assert await layer.receive("jobs") == {"n": 2}
    assert layer.statistics().dropped == {"expired": 1}


async def test_a_receiver_waits_on_when_its_message_has_expired(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("jobs", {"n": 1})
    clock.now += 61
    task = await receiving(layer, "jobs")
    assert not task.done()
    await layer.send("jobs", {"n": 2})
    assert await task == {"n": 2}


async def test_an_expired_message_does_not_throw_its_channel_out_of_a_group(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"n": 1})
    clock.now += 61
    await layer.new_channel()
    await layer.group_send("room", {"n": 2})
    assert await layer.receive(channel) == {"n": 2}


async def test_expired_messages_leave_room_for_direct_ones(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60, capacity=2)
    for number in range(2):
        await layer.send("jobs", {"n": number})
    with pytest.raises(ChannelFull):
        await layer.send("jobs", {})
    clock.now += 61
    await layer.send("jobs", {"n": 9})
    assert layer.channels["jobs"] == [{"n": 9}]
    assert layer.statistics().dropped == {"expired": 2}


async def test_expired_messages_leave_room_for_those_of_a_group(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60, capacity=2)
    await layer.group_add("room", "jobs")
    for number in range(3):
        await layer.group_send("room", {"n": number})
    clock.now += 61
    await layer.group_send("room", {"n": 9})
    assert layer.channels["jobs"] == [{"n": 9}]
    assert layer.statistics().dropped == {"over_capacity": 1, "expired": 2}


@pytest.mark.parametrize("group", [False, True])
async def test_what_expires_before_an_older_message_leaves_room_too(clock: Clock, group: bool) -> None:
    layer = InMemoryChannelLayer(expiry=60, capacity=3)
    await layer.group_add("room", "jobs")
    await layer.send("jobs", {"n": 0})
    for number in (1, 2):
        await layer.send("jobs", {"n": number}, expiry=5)
    clock.now += 6
    for _ in range(3):
        assert layer.channels["jobs"] == [{"n": 0}], "to look at them counts nothing"
    await (layer.group_send("room", {"n": 3}) if group else layer.send("jobs", {"n": 3}))
    assert layer.channels["jobs"] == [{"n": 0}, {"n": 3}]
    assert layer.statistics().dropped == {"expired": 2}


async def test_a_full_mailbox_is_not_searched_all_the_time(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60, capacity=1000)
    for number in range(1000):
        await layer.send("jobs", {"n": number})
    looks, began = clock.looks, time.monotonic()
    for _ in range(1000):
        with pytest.raises(ChannelFull):
            await layer.send("jobs", {})
    searches = 1 + (time.monotonic() - began) // LOOK_EVERY
    assert clock.looks - looks <= 1000 * (2 + searches)


# Several receivers, and channels that are forgotten


async def test_two_receivers_on_a_channel_are_both_served(layer: InMemoryChannelLayer) -> None:
    tasks = [await receiving(layer, "jobs") for _ in range(2)]
    await layer.send("jobs", {"n": 1})
    await layer.send("jobs", {"n": 2})
    assert await asyncio.gather(*tasks) == [{"n": 1}, {"n": 2}]


async def test_a_receiver_whose_message_another_took_is_served_next(layer: InMemoryChannelLayer) -> None:
    """The other one leaves the channel empty, while this one was woken and has not looked yet."""
    task = await receiving(layer, "jobs")
    await layer.send("jobs", {"n": 1})
    assert await layer.receive("jobs") == {"n": 1}
    await asyncio.sleep(0)
    await layer.send("jobs", {"n": 2})
    assert await asyncio.wait_for(task, 30) == {"n": 2}


async def test_a_receiver_whose_message_was_flushed_is_served_next(layer: InMemoryChannelLayer) -> None:
    task = await receiving(layer, "jobs")
    await layer.send("jobs", {"n": 1})
    await layer.flush()
    await asyncio.sleep(0)
    await layer.send("jobs", {"n": 2})
    assert await asyncio.wait_for(task, 30) == {"n": 2}


async def test_a_receiver_that_ends_late_takes_nothing_from_a_layer_that_opened_again(
    layer: InMemoryChannelLayer,
) -> None:
    task = await receiving(layer, "jobs")
    await layer.close()
    await layer.send("jobs", {"n": 1})
    with pytest.raises(ChannelLayerClosed):
        await task
    assert await asyncio.wait_for(layer.receive("jobs"), 30) == {"n": 1}


async def test_a_reader_of_a_shared_channel_hears_after_others_opened_channels(layer: InMemoryChannelLayer) -> None:
    """It need not wait at that moment: it may be busy with the last message."""
    reader = layer.reader("jobs")
    for _ in range(10):
        await layer.new_channel()
    await layer.send("jobs", {"n": 1})
    assert reader.take() == {"n": 1}


async def test_a_shared_channel_without_messages_readers_and_groups_is_forgotten(layer: InMemoryChannelLayer) -> None:
    await layer.send("jobs", {"n": 1})
    await layer.receive("jobs")
    assert mailboxes(layer) == 0


async def test_a_shared_channel_in_a_group_is_kept(layer: InMemoryChannelLayer) -> None:
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"n": 1})
    await layer.receive("jobs")
    assert mailboxes(layer) == 1
    await layer.group_send("room", {"n": 2})
    assert await layer.receive("jobs") == {"n": 2}


async def test_a_cancelled_receiver_leaves_no_channel_behind(layer: InMemoryChannelLayer) -> None:
    task = await receiving(layer, "jobs")
    task.cancel()
    await asyncio.wait([task])
    assert mailboxes(layer) == 0


async def test_channels_that_nobody_receives_on_do_not_pile_up(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    for number in range(10_000):
        await layer.send(f"reply.{number}", {"n": number})
        clock.now += 1
    assert mailboxes(layer) <= 100
    assert layer.statistics().dropped["expired"] >= 9_900


async def test_a_crowd_of_channels_is_gone_after_as_many_new_ones(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    for number in range(1000):
        await layer.send(f"reply.{number}", {})
    assert mailboxes(layer) == 1000
    clock.now += 61
    for _ in range(500):
        await layer.new_channel()
    assert mailboxes(layer) == 500


async def test_a_new_channel_costs_the_same_however_many_there_are(clock: Clock) -> None:
    layer = InMemoryChannelLayer()

    async def looks_for_one() -> int:
        before = clock.looks
        await layer.new_channel()
        return clock.looks - before

    for _ in range(10):
        await layer.new_channel()
    with_ten = await looks_for_one()
    for _ in range(1000):
        await layer.new_channel()
    assert await looks_for_one() == with_ten


async def test_released_channels_do_not_pile_up(layer: InMemoryChannelLayer) -> None:
    for _ in range(1000):
        await layer.release_channel(await layer.new_channel())
    gc.collect()
    assert len([thing for thing in gc.get_objects() if isinstance(thing, Mailbox)]) < 100


# The expiry of groups


async def look_at_every_channel(layer: InMemoryChannelLayer) -> None:
    """Open so many that each old one is looked at twice: to see it idle, and to see for how long."""
    for _ in range(2):
        for _ in range(20):
            await layer.release_channel(await layer.new_channel())


async def test_a_channel_that_nobody_receives_on_loses_its_memberships(clock: Clock) -> None:
    layer = InMemoryChannelLayer(group_expiry=100)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await look_at_every_channel(layer)
    clock.now += 101
    await look_at_every_channel(layer)
    assert layer.groups == {}
    await layer.send(channel, {})
    assert layer.statistics().dropped == {"channel_gone": 1}


@pytest.mark.parametrize("reading", ["waits", "holds a reader", "receives now and then"])
async def test_a_member_that_receives_stays(clock: Clock, reading: str) -> None:
    layer = InMemoryChannelLayer(group_expiry=100)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    reader = layer.reader(channel) if reading == "holds a reader" else None
    task = await receiving(layer, channel) if reading == "waits" else None
    for number in range(5):
        clock.now += 60
        if reading == "receives now and then":
            await layer.group_send("room", {"n": number})
            await layer.receive(channel)
        await look_at_every_channel(layer)
    await layer.group_send("room", {"n": 9})
    if reader is not None:
        assert reader.take() == {"n": 9}
    else:
        assert await (task or layer.receive(channel)) == {"n": 9}


async def test_a_member_that_no_longer_receives_ends_after_its_reader_closed(clock: Clock) -> None:
    layer = InMemoryChannelLayer(group_expiry=100)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    layer.reader(channel).close()
    await look_at_every_channel(layer)
    clock.now += 101
    await look_at_every_channel(layer)
    assert layer.groups == {}


# Capacity


async def test_capacity_is_that_of_a_channel_not_of_the_layer() -> None:
    layer = InMemoryChannelLayer(capacity=100)
    channels = [await layer.new_channel() for _ in range(250)]
    for channel in channels:
        await layer.group_add("room", channel)
    await layer.group_send("room", {"n": 1})
    assert [await layer.receive(channel) for channel in channels] == [{"n": 1}] * 250
    for _ in range(100):
        await layer.send(channels[0], {})
    await layer.send(channels[1], {"idle": True})
    assert await layer.receive(channels[1]) == {"idle": True}


async def test_a_full_channel_is_named_with_its_capacity(layer: InMemoryChannelLayer) -> None:
    for _ in range(3):
        await layer.send("jobs", {})
    with pytest.raises(ChannelFull, match=r"^channel 'jobs' is full: 3 messages wait for its receiver$"):
        await layer.send("jobs", {})
    assert layer.statistics().sent == 3


async def test_a_group_drops_the_oldest_message_if_told_to() -> None:
    layer = InMemoryChannelLayer(capacity=2, overflow="drop_oldest")
    await layer.group_add("room", "jobs")
    for number in range(4):
        await layer.group_send("room", {"n": number})
    assert layer.channels["jobs"] == [{"n": 2}, {"n": 3}]
    assert layer.statistics().dropped == {"over_capacity": 2}


async def test_a_group_closes_the_channel_that_falls_behind_if_told_to() -> None:
    layer = InMemoryChannelLayer(capacity=2, overflow="close")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for number in range(3):
        await layer.group_send("room", {"n": number})
    with pytest.raises(ChannelFull, match="is full: 2 messages wait"):
        await layer.send(channel, {"n": 3})
    with pytest.raises(MailboxOverflow):
        await layer.receive(channel)
    assert layer.statistics().dropped == {"over_capacity": 3}


async def test_members_over_capacity_are_logged_once_in_the_words_that_users_look_for(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fast_channels.layers")
    channels = [await layer.new_channel() for _ in range(10)]
    for channel in channels:
        await layer.group_add("room", channel)
    for channel in channels[:2]:
        for _ in range(3):
            await layer.send(channel, {})
    for _ in range(3):
        await layer.group_send("room", {})
    assert caplog.messages == ["2 of 10 channels over capacity in group room"]


# Deliveries


async def test_what_is_given_back_does_not_expire(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("jobs", {"n": 1})
    with pytest.raises(KeyError):
        async with layer.delivery("jobs"):
            clock.now += 1000
            raise KeyError
    assert await layer.receive("jobs") == {"n": 1}


async def test_what_is_given_back_to_a_released_channel_does_not_bring_it_back(layer: InMemoryChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    with pytest.raises(KeyError):
        async with layer.delivery(channel):
            await layer.release_channel(channel)
            raise KeyError
    assert mailboxes(layer) == 0
    assert layer.statistics().dropped == {"channel_gone": 1}


# Values


@dataclass(frozen=True)
class Point:
    x: int


async def test_what_can_be_encoded_and_not_decoded_is_counted_and_passed_over(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", {Point(1): "a map is no key"})  # type: ignore[dict-item]
    await layer.send("jobs", {"n": 2})
    assert await layer.receive("jobs") == {"n": 2}
    assert layer.statistics().dropped == {"undecodable": 1}
    assert len(caplog.messages) == 1


# Views


async def test_a_channel_is_listed_while_a_message_waits_in_it(layer: InMemoryChannelLayer) -> None:
    channels = layer.channels
    await layer.new_channel()
    assert channels == {}
    await layer.send("jobs", {"n": 1})
    await layer.send("jobs", {"n": 2})
    assert channels == {"jobs": [{"n": 1}, {"n": 2}]}
    assert ("jobs" in channels, list(channels), len(channels)) == (True, ["jobs"], 1)
    await layer.receive("jobs")
    await layer.receive("jobs")
    assert not channels


async def test_a_look_at_the_channels_takes_nothing(layer: InMemoryChannelLayer) -> None:
    await layer.send("jobs", {"n": [1]})
    layer.channels["jobs"][0]["n"].append(2)
    assert layer.statistics().received == 0
    assert await layer.receive("jobs") == {"n": [1]}


async def test_an_expired_message_does_not_wait_and_is_counted_once(clock: Clock) -> None:
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("jobs", {})
    clock.now += 61
    for _ in range(3):
        assert layer.channels == {}
        assert layer.channels.get("jobs") is None
    assert layer.statistics().dropped == {"expired": 1}


async def test_what_is_not_listed_is_a_key_error(layer: InMemoryChannelLayer) -> None:
    await layer.group_add("room", "jobs")
    with pytest.raises(KeyError, match="jobs"):
        layer.channels["jobs"]
    with pytest.raises(KeyError, match="other"):
        layer.groups["other"]


async def test_a_group_is_listed_while_it_has_members(layer: InMemoryChannelLayer) -> None:
    groups = layer.groups
    assert groups == {}
    await layer.group_add("room", "one")
    await layer.group_add("room", "two")
    assert list(groups["room"]) == ["one", "two"]
    await layer.group_discard("room", "one")
    await layer.group_discard("room", "two")
    assert groups == {}


async def test_the_views_show_what_they_hold(layer: InMemoryChannelLayer) -> None:
    await layer.group_add("room", "jobs")
    await layer.send("jobs", {"n": 1})
    assert repr(layer.channels) == "{'jobs': [{'n': 1}]}"
    assert repr(layer.groups) == "{'room': {'jobs': 1}}"


async def test_inspecting_tells_depths_and_members(layer: InMemoryChannelLayer) -> None:
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {})
    assert await layer.inspect() == {"layer": "in-memory", "channels": {"jobs": 1}, "groups": {"room": ["jobs"]}}


# Threads


def in_threads(count: int, work: Callable[[int], Awaitable[None]]) -> list[threading.Thread]:
    """Threads with an event loop each, started."""

    async def run(number: int) -> None:
        await work(number)

    threads = [threading.Thread(target=lambda number=number: asyncio.run(run(number))) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


async def test_several_threads_send_to_one_receiver_and_nothing_is_lost() -> None:
    layer = InMemoryChannelLayer(capacity=100_000)
    channel = await layer.new_channel()

    async def send(sender: int) -> None:
        for number in range(1000):
            await layer.send(channel, {"sender": sender, "n": number})

    threads = in_threads(4, send)
    found: dict[int, list[int]] = {sender: [] for sender in range(4)}
    for _ in range(4000):
        message = await asyncio.wait_for(layer.receive(channel), 30)
        found[message["sender"]].append(message["n"])
    assert all(numbers == list(range(1000)) for numbers in found.values())
    assert layer.statistics().sent == layer.statistics().received == 4000
    await until(lambda: not any(thread.is_alive() for thread in threads))


async def test_a_full_channel_takes_exactly_its_capacity_from_racing_threads() -> None:
    layer = InMemoryChannelLayer(capacity=100)
    refused = []

    async def send(sender: int) -> None:
        for _ in range(200):
            try:
                await layer.send("jobs", {"sender": sender})
            except ChannelFull:
                refused.append(sender)

    threads = in_threads(4, send)
    await until(lambda: not any(thread.is_alive() for thread in threads))
    assert len(refused) == 700
    assert len(layer.channels["jobs"]) == 100
    assert layer.statistics().sent == 100


async def test_channels_come_and_go_in_several_threads_beside_a_group_that_is_sent_to() -> None:
    layer = InMemoryChannelLayer(capacity=100_000)
    stable = await layer.new_channel()
    await layer.group_add("room", stable)

    async def come_and_go(_: int) -> None:
        for _ in range(300):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.release_channel(channel)

    threads = in_threads(3, come_and_go)
    sent = 0
    while sent < 300 or any(thread.is_alive() for thread in threads):
        await layer.group_send("room", {"n": sent})
        sent += 1
        await asyncio.sleep(0)
    assert [(await layer.receive(stable))["n"] for _ in range(sent)] == list(range(sent))
    assert list(layer.groups["room"]) == [stable]


async def test_a_handler_of_the_log_may_send_through_the_layer() -> None:
    layer = InMemoryChannelLayer(capacity=1)
    await layer.group_add("room", "jobs")

    class Sending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(StopIteration):  # it ends without waiting for anything
                layer.send("alarms", {"text": record.getMessage()}).send(None)

    logger = logging.getLogger("fast_channels.layers")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler := Sending())
    try:
        await layer.group_send("room", {})
        await layer.group_send("room", {})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert await layer.receive("alarms") == {"text": "1 of 1 channels over capacity in group room"}
