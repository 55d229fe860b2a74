"""Receivers that come, go, give up, or are too slow, beside others that do not."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from fast_channels.layers.local import LocalChannels
from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.promise import Listener, Sender, broken
from tests.faults.traffic import GROUP, Traffic, every
from tests.support.loops import both_loops
from tests.support.waiting import PATIENCE, until

Layer = RedisPubSubChannelLayer


@pytest.fixture
async def pair(server: ServerProcess) -> AsyncIterator[tuple[Layer, Layer]]:
    """A layer that receives, and one that sends, as in two processes."""
    async with Layer([server.url], capacity=100_000) as hearing, Layer([server.url]) as sending:
        yield hearing, sending


# A wait is cancelled

Receive = Callable[[Layer, str], Coroutine[Any, Any, Any]]


async def receive(layer: Layer, channel: str) -> Any:
    return await layer.receive(channel)


async def take_and_tarry(layer: Layer, channel: str) -> Any:
    """The protection off: a message is out of its queue before the wait is over."""
    message = await layer.receive(channel)
    await asyncio.sleep(0)
    return message


async def give_up_a_thousand_times(pair: tuple[Layer, Layer], receive: Receive) -> tuple[Sender, Listener]:
    """What a sender sent, and what reached somebody who is for ever called away from receiving."""
    hearing, sending = pair
    sender, listener, chance = Sender("s"), Listener(), random.Random(4)
    channel = await hearing.new_channel()

    async def send(message: dict[str, Any]) -> None:
        await sending.send(channel, message)

    async def keep_sending() -> None:
        while cancelled < 1000:
            await asyncio.gather(*(sender.send(send) for _ in range(chance.randrange(4))))
            await asyncio.sleep(0)

    cancelled = 0
    load = asyncio.create_task(keep_sending())
    while cancelled < 1000:
        task = asyncio.create_task(receive(hearing, channel))
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        cancelled += task.cancel()
        with suppress(asyncio.CancelledError):
            listener.message(await task)
    await load
    last = await sender.send(send)
    async with asyncio.timeout(PATIENCE):
        while last.number not in listener.numbers(sender)[-1:]:
            listener.message(await hearing.receive(channel))
    return sender, listener


@both_loops
async def test_receiving_that_is_cancelled_a_thousand_times_loses_nothing(pair: tuple[Layer, Layer]) -> None:
    sender, listener = await give_up_a_thousand_times(pair, receive)
    assert broken(sender, listener) == []
    assert listener.numbers(sender) == list(range(1, sender.begun + 1))
    assert pair[0].statistics().dropped == {}


async def test_twin_a_message_in_hand_when_the_wait_is_cancelled_is_lost(pair: tuple[Layer, Layer]) -> None:
    sender, listener = await give_up_a_thousand_times(pair, take_and_tarry)
    assert any("missing without a word" in complaint for complaint in broken(sender, listener))


async def pass_it_on(pair: tuple[Layer, Layer], patience: float = PATIENCE) -> int:
    """Two wait for a message, and the one that it wakes gives up: how often did the other not get it in time?"""
    hearing, sending = pair
    channel = await hearing.new_channel()
    mailbox = hearing._here().local.mailboxes[channel]
    stuck = 0
    for number in range(100):
        first, second = [asyncio.create_task(hearing.receive(channel)) for _ in range(2)]
        await asyncio.sleep(0)
        await sending.send(channel, number)
        while not len(mailbox) and not first.done():
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        if not first.cancelled():
            assert first.result() == number
        elif await asyncio.wait({second}, timeout=patience) == (set(), {second}):
            stuck += 1
            assert await hearing.receive(channel) == number
        second.cancel()
        await asyncio.wait({second})
    return stuck


async def test_a_message_whose_receiver_gives_up_wakes_the_next_one(pair: tuple[Layer, Layer]) -> None:
    assert await pass_it_on(pair) == 0


async def test_twin_without_passing_it_on_a_message_lies_there(
    pair: tuple[Layer, Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def discard_waiter(self: Mailbox, waiter: "asyncio.Future[None]") -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    monkeypatch.setattr(Mailbox, "discard_waiter", discard_waiter)
    assert await pass_it_on(pair, patience=0.01) > 0


# Others come and go


async def come_and_go(traffic: Traffic, seconds: float) -> int:
    """Every 3 ms one more member joins the group, and another leaves; how many there were."""
    layer, members = traffic.hearing, 0

    async def visit() -> None:
        nonlocal members
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        if members % 2:
            await layer.receive(channel)
            await layer.group_discard(GROUP, channel)
        await layer.release_channel(channel)
        members += 1

    visits: set[asyncio.Task[None]] = set()
    async with every(0.003, lambda: visits.add(asyncio.create_task(visit()))):
        await asyncio.sleep(seconds)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*visits)
    return members


@both_loops
async def test_a_member_that_stays_hears_everything_while_others_come_and_go(server: ServerProcess) -> None:
    async with Traffic(server.url) as traffic:
        members = await come_and_go(traffic, 3)
        assert list((await traffic.hearing.inspect())["groups"]) == [GROUP]
        local = traffic.hearing._here().local
        assert repr(local) == "<LocalChannels: 1 channels, 1 groups>"
    assert traffic.broken() == []
    assert traffic.outcomes()["unknown"] == traffic.outcomes()["unreachable"] == 0
    for sender in traffic.senders.values():
        numbers = traffic.listener.numbers(sender)
        assert numbers == list(range(1, len(numbers) + 1))
    assert members > 50


async def test_twin_when_whoever_leaves_ends_the_subscription_of_all(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave, release = LocalChannels.leave, LocalChannels.release

    def alone(self: LocalChannels, name: str, channel: str) -> bool:
        return leave(self, name, channel) or True

    def all_alone(self: LocalChannels, channel: str) -> list[str]:
        mailbox = self.mailboxes.get(channel)
        return [*(mailbox.groups if mailbox else ()), *release(self, channel)]

    monkeypatch.setattr(LocalChannels, "leave", alone)
    monkeypatch.setattr(LocalChannels, "release", all_alone)
    async with Traffic(server.url, settle=1) as traffic:
        with suppress(TimeoutError):
            await asyncio.wait_for(come_and_go(traffic, 1), 5)
    assert any("missing without a word" in complaint for complaint in traffic.broken())


# One is too slow

FAST = 20
CAPACITY = 100


class Room:
    """Members of a group of which one may be slow: how long messages take to the others."""

    def __init__(self, hearing: Layer, sending: Layer) -> None:
        self.hearing = hearing
        self.sending = sending
        self.latencies: list[float] = []
        self.sent = 0

    async def run(self, slow: str | None) -> None:
        channels = [await self.hearing.new_channel() for _ in range(FAST)]
        for channel in [*channels, *([slow] if slow else [])]:
            await self.hearing.group_add(GROUP, channel)
        fast = [asyncio.create_task(self._receive(channel)) for channel in channels]
        for _ in range(500):
            await self.sending.group_send(GROUP, time.perf_counter())
            self.sent += 1
            await asyncio.sleep(0.001)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*fast)
        for channel in channels:
            await self.hearing.release_channel(channel)

    async def _receive(self, channel: str) -> None:
        for _ in range(500):
            began = await self.hearing.receive(channel)
            self.latencies.append(time.perf_counter() - began)

    def p99(self) -> float:
        return statistics.quantiles(self.latencies, n=100)[98]


async def sip(layer: Layer, channel: str) -> int:
    """Receive much slower than is sent; how many messages were received when somebody ends it."""
    received = 0
    try:
        while True:
            await layer.receive(channel)
            received += 1
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return received


@both_loops
async def test_a_slow_member_costs_its_neighbours_nothing_and_its_losses_are_counted(server: ServerProcess) -> None:
    async with Layer([server.url], capacity=CAPACITY) as hearing, Layer([server.url]) as sending:
        alone, beside = [], []
        slow = await hearing.new_channel()
        sipping = asyncio.create_task(sip(hearing, slow))
        with_slow = 0
        for _ in range(3):  # interleaved: the machine does other things, too
            without, with_it = Room(hearing, sending), Room(hearing, sending)
            await without.run(None)
            alone.append(without.p99())
            await with_it.run(slow)
            beside.append(with_it.p99())
            assert len(hearing._here().local.mailboxes[slow]) <= CAPACITY
            with_slow += with_it.sent
            await hearing.group_discard(GROUP, slow)
        sipping.cancel()
        received = await sipping
        queued = len(hearing._here().local.mailboxes[slow])
        dropped = hearing.statistics().dropped
        assert dropped == {"over_capacity": with_slow - received - queued}
        assert dropped["over_capacity"] > 500
        assert min(beside) < 3 * min(alone) + 0.02, "the 99th of 100 latencies, in seconds"


async def test_twin_without_a_bound_a_slow_member_keeps_everything(server: ServerProcess) -> None:
    async with Layer([server.url], capacity=1 << 40) as hearing, Layer([server.url]) as sending:
        slow = await hearing.new_channel()
        room = Room(hearing, sending)
        await room.run(slow)
        await until(lambda: len(hearing._here().local.mailboxes[slow]) > CAPACITY)
        assert hearing.statistics().dropped == {}
