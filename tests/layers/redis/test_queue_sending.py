"""Sending with the queue: once and in order, from several loops, through cut answers, cancellations and the end."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from fast_channels.exceptions import ChannelFull, NotAllSent, OutcomeUnknown, ServerUnreachable
from fast_channels.layers.redis import RedisChannelLayer, pipelining
from fast_channels.layers.redis.link import Patience
from tests.support.descriptors import open_sockets
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

MakeQueue = Callable[..., RedisChannelLayer]


@pytest.fixture
async def make_queue(redis_url: str) -> AsyncIterator[MakeQueue]:
    """Makes layers of one prefix; no ping comes between a test and its proxy."""
    prefix = uuid4().hex
    layers: list[RedisChannelLayer] = []

    def make(**options: Any) -> RedisChannelLayer:
        layer = RedisChannelLayer(**{"hosts": [redis_url], "prefix": prefix, **options})
        layer._wiring = replace(layer._wiring, patience=Patience(send=layer._wiring.patience.send, ping_every=3600))
        layers.append(layer)
        return layer

    yield make
    for layer in layers:
        await layer.close()


async def numbers(layer: RedisChannelLayer, channel: str, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [(await layer.receive(channel))["n"] for _ in range(count)]


async def outcome_of(work: Coroutine[Any, Any, Any]) -> Any:
    return (await asyncio.gather(work, return_exceptions=True))[0]


async def connected(layer: RedisChannelLayer) -> None:
    """The server is back: whoever waits has time enough."""
    outbox = layer._here().ways.outlet("jobs").outbox
    outbox._link.start()  # type: ignore[attr-defined]
    await until(lambda: outbox._link.connection is not None)


# Once and in order


@both_loops
@pytest.mark.parametrize("kind", ["specific", "shared"])
async def test_cut_answers_double_nothing_and_change_no_order(make_queue: MakeQueue, proxy: Proxy, kind: str) -> None:
    receiver, sender = make_queue(capacity=1000), make_queue(hosts=[proxy.url], capacity=1000)
    channel = await receiver.new_channel() if kind == "specific" else "jobs"
    await sender.send(channel, {"n": 0})
    for first in range(1, 61, 20):
        proxy.drop_reply()
        await asyncio.gather(*(sender.send(channel, {"n": number}) for number in range(first, first + 20)))
    assert await numbers(receiver, channel, 61) == list(range(61))
    assert sender.statistics().sent == 61
    assert sender.statistics().reconnections >= 1


async def test_direct_and_group_messages_of_one_sender_keep_their_order(make_queue: MakeQueue, proxy: Proxy) -> None:
    receiver, sender = make_queue(capacity=1000), make_queue(hosts=[proxy.url])
    channel = await receiver.new_channel()
    await receiver.group_add("room", channel)
    for number in range(0, 60, 2):
        if number % 20 == 10:
            proxy.cut()
        await sender.send(channel, {"n": number})
        try:
            await sender.group_send("room", {"n": number + 1})
        except OutcomeUnknown:  # the question who is a member was cut: it may be asked again
            await sender.group_send("room", {"n": number + 1})
    assert await numbers(receiver, channel, 60) == list(range(60))


async def test_a_group_message_reaches_every_member_once_through_a_cut_answer(
    make_queue: MakeQueue, proxy: Proxy
) -> None:
    receivers, sender = [make_queue() for _ in range(4)], make_queue(hosts=[proxy.url])
    channels = [await receiver.new_channel() for receiver in receivers]
    for receiver, channel in zip(receivers, channels, strict=True):
        await receiver.group_add("room", channel)
    await receivers[0].group_add("room", "jobs")
    await sender.group_send("room", {"n": 0})
    for number in range(1, 5):
        proxy.cut_reply_after(180 + 10 * number)  # somewhere in the answers of the members
        if isinstance(await outcome_of(sender.group_send("room", {"n": number})), OutcomeUnknown):
            await sender.group_send("room", {"n": number})  # it was cut before the members were known
    assert sender.statistics().reconnections >= 1
    for receiver, channel in [*zip(receivers, channels, strict=True), (receivers[0], "jobs")]:
        assert await numbers(receiver, channel, 5) == list(range(5))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receiver.receive(channel), 0.05)


@pytest.mark.parametrize("kind", ["specific", "shared"])
async def test_of_many_senders_as_many_succeed_as_there_are_places(
    make_queue: MakeQueue, proxy: Proxy, kind: str
) -> None:
    """Also while their answers are cut."""
    receiver = make_queue(capacity=10)
    senders = [make_queue(capacity=10, hosts=[proxy.url]) for _ in range(4)]
    channel = await receiver.new_channel() if kind == "specific" else "jobs"
    for sender in senders:
        await sender.send("others", {"n": 0})
    proxy.drop_reply(3)
    sending = [sender.send(channel, {"n": 0}) for sender in senders * 25]
    outcomes = Counter(type(outcome) for outcome in await asyncio.gather(*sending, return_exceptions=True))
    assert outcomes == {type(None): 10, ChannelFull: 90}
    assert await numbers(receiver, channel, 10) == [0] * 10
    async with asyncio.timeout(PATIENCE):
        while isinstance(await outcome_of(senders[0].send(channel, {"n": 1})), ChannelFull):
            await asyncio.sleep(0.002)  # the server is told in the next turn of the receiver's loop
    assert await numbers(receiver, channel, 1) == [1]


# Several loops


@pytest.mark.parametrize("kind", ["specific", "shared"])
async def test_threads_with_loops_of_their_own_send_to_one_channel(make_queue: MakeQueue, kind: str) -> None:
    layer = make_queue(capacity=10_000)
    channel = await layer.new_channel() if kind == "specific" else "jobs"
    await layer.group_add("room", channel)

    async def send(thread: int) -> None:
        for number in range(30):
            await layer.send(channel, {"thread": thread, "kind": "direct", "n": number})
            await layer.group_send("room", {"thread": thread, "kind": "group", "n": number})

    def threads() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda thread: asyncio.run(send(thread)), range(4)))

    sending = asyncio.create_task(asyncio.to_thread(threads))
    async with asyncio.timeout(PATIENCE):
        messages = [await layer.receive(channel) for _ in range(240)]
    await sending
    for thread in range(4):
        for what in ("direct", "group"):
            found = [message["n"] for message in messages if (message["thread"], message["kind"]) == (thread, what)]
            assert found == list(range(30))


# Many messages


@both_loops
async def test_cut_answers_double_none_of_many_messages(make_queue: MakeQueue, proxy: Proxy) -> None:
    receiver, sender = make_queue(capacity=5000), make_queue(hosts=[proxy.url], capacity=5000)
    channel = await receiver.new_channel()
    await sender.send(channel, {"n": 0})
    for first in range(1, 4001, 2000):
        proxy.drop_reply()
        pairs = [(name, {"n": number}) for number in range(first, first + 2000) for name in (channel, "jobs")]
        await sender.send_many(pairs)
    assert await numbers(receiver, channel, 4001) == list(range(4001))
    assert await numbers(receiver, "jobs", 4000) == list(range(1, 4001))
    assert sender.statistics().sent == 8001


async def test_many_messages_to_a_server_that_is_away_wait_for_it_once(
    make_queue: MakeQueue, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining, "MOST", 10)
    layer = make_queue(hosts=[proxy.url], send_timeout=0.3)
    proxy.close()
    began = time.monotonic()
    with pytest.raises(NotAllSent) as caught:
        await layer.send_many([(f"jobs-{number}", {"n": number}) for number in range(300)])
    assert time.monotonic() - began < 30 * 0.3, "it waits for each lot"
    assert [failure.index for failure in caught.value.failures] == list(range(300))
    assert {type(failure.error) for failure in caught.value.failures} == {ServerUnreachable}
    assert (caught.value.sent, layer.statistics().sent) == (0, 0)


async def test_many_messages_in_a_row_may_be_large(make_queue: MakeQueue) -> None:
    """More than may wait for a server at a time: 64 MiB."""
    layer = make_queue(capacity=1000)
    channel = await layer.new_channel()
    load = "x" * 3_000_000

    async def receive() -> list[int]:
        return [(await layer.receive(channel))["n"] for _ in range(30)]

    receiving = asyncio.create_task(receive())
    await layer.send_many([(channel, {"n": number, "load": load}) for number in range(30)])
    assert await asyncio.wait_for(receiving, PATIENCE) == list(range(30))


# Servers that are away


async def test_who_waits_for_a_server_in_vain_has_sent_nothing(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer = make_queue(hosts=[proxy.url], send_timeout=1.5)
    proxy.close()
    sending = [layer.send("jobs", {"n": number}) for number in range(3)]
    outcomes = await asyncio.gather(*sending, layer.group_send("room", {}), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ServerUnreachable}
    proxy.forward()
    await connected(layer)
    await layer.send("jobs", {"n": 3})
    assert await numbers(layer, "jobs", 1) == [3]
    assert layer.statistics().sent == 1


async def test_who_hears_nothing_of_what_was_sent_does_not_know(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer, receiver = make_queue(hosts=[proxy.url], send_timeout=1.5), make_queue()
    await layer.send("jobs", {"n": 0})
    await until(lambda: not layer._here()._pulse._work)  # else it may be the answer to a question of the layer's own
    proxy.drop_reply(1000)
    with pytest.raises(OutcomeUnknown):
        await layer.send("jobs", {"n": 1})
    proxy.forward()
    await connected(layer)
    await layer.send("jobs", {"n": 2})
    assert await numbers(receiver, "jobs", 3) == [0, 1, 2]


# Cancellation


@both_loops
async def test_calls_that_are_cancelled_leave_nothing_behind(make_queue: MakeQueue, proxy: Proxy) -> None:
    """At every turn of the loop between the call and its end, with and without a server."""
    layer, other = make_queue(hosts=[proxy.url], capacity=1000), make_queue()
    channel, foreign = await layer.new_channel(), await other.new_channel()
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        partial(layer.send, channel, {"n": 0}),
        partial(layer.send, "jobs", {"n": 0}),
        partial(layer.group_send, "cancelled", {"n": 0}),
        partial(layer.group_send, ["cancelled", "other"], {"n": 0}, exclude=[foreign]),
        partial(layer.send_many, [(channel, {"n": 0}), ("jobs", {"n": 0})] * 2),
        partial(layer.group_add, "cancelled", channel),
        partial(layer.group_add, "cancelled", foreign),
    ]
    for away in (False, True):
        proxy.close() if away else proxy.forward()
        for call in calls:
            for turns in range(8):
                task = asyncio.create_task(call())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    proxy.forward()
    await layer.group_discard("cancelled", channel)
    await layer.group_discard("cancelled", foreign)
    assert (await other.inspect())["groups"].get("cancelled", []) == []
    await layer.send(channel, {"n": 1})
    async with asyncio.timeout(PATIENCE):
        while (await layer.receive(channel))["n"] != 1:
            pass
    hub = layer._here()
    await until(lambda: repr(hub._requests).endswith(": 0 asked, 0 being answered>"))


# The end


@both_loops
async def test_closing_while_messages_are_sent_leaves_nothing(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer = make_queue(hosts=[proxy.url])
    sockets, tasks = open_sockets(), asyncio.all_tasks()
    await layer.send("jobs", {"n": 0})
    proxy.blackhole()
    sending = [asyncio.create_task(layer.send("jobs", {"n": number})) for number in range(1, 300)]
    await asyncio.sleep(0)
    sending += [asyncio.create_task(layer.group_send("room", {})), asyncio.create_task(layer.send("more", {}))]
    for _ in range(3):
        await asyncio.sleep(0)
    await layer.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*sending, return_exceptions=True), PATIENCE)
    assert {type(outcome) for outcome in outcomes} <= {OutcomeUnknown, ServerUnreachable}
    await until(lambda: asyncio.all_tasks() <= tasks)
    proxy.cut()
    await until(lambda: open_sockets() <= sockets)
