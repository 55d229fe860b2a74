"""Shared channels: what is taken is held, acknowledged or given back, whatever happens meanwhile."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from fast_channels.exceptions import ChannelFull, ChannelLayerClosed, ChannelReleased, ServerRefused
from fast_channels.layers.redis import RedisChannelLayer, held, pulse, scripts, shared
from fast_channels.layers.redis.shared import SharedChannel
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import QUIET, MakeQueue
from tests.support.proxy import Proxy
from tests.support.waiting import until

AT_ONCE = shared.IDLE / 2
"""Seconds: whoever was not woken looks after `IDLE`."""

QUICKLY = 0.9
"""Seconds: who closes waits for one at most, for a server that does not answer."""

DONE = b"$1\r\n1\r\n"
GIVEN_BACK = b"$1\r\nb\r\n"
"""What the server answers."""


def with_(mark: bytes) -> Callable[[bytes], bool]:
    """Whether a piece of what the server sends has it in it."""
    return lambda data: mark in data


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are over soon."""
    for module in (held, shared):
        monkeypatch.setattr(module, "LEASE", 500)
    monkeypatch.setattr(pulse, "BEAT", 0.05)


def channel_of(layer: RedisChannelLayer, channel: str = "jobs") -> SharedChannel:
    return layer._here().shared_channel(channel)


async def waiting(layer: RedisChannelLayer, channel: str = "jobs") -> "asyncio.Task[dict[str, Any]]":
    """A task that receives; the server has been asked, and has nothing."""
    task = asyncio.create_task(layer.receive(channel))
    await until(lambda: channel_of(layer, channel)._taker)
    await until(lambda: channel_of(layer, channel)._is_answered and channel_of(layer, channel)._request)
    return task


async def look(layer: RedisChannelLayer, channel: str = "jobs") -> dict[str, Any]:
    channels: dict[str, dict[str, Any]] = (await layer.inspect())["channels"]
    return channels.get(channel, {"depth": 0, "held": {}, "delayed": 0, "dead_letters": 0})


async def nothing_is_left(layer: RedisChannelLayer, channel: str = "jobs") -> None:
    left = await look(layer, channel)
    assert (left["depth"], left["held"], left["delayed"], left["dead_letters"]) == (0, {}, 0, 0)


async def fail_on(layer: RedisChannelLayer, channel: str = "jobs", times: list[float] | None = None) -> dict[str, Any]:
    """Take a message and fail; what it was. When it came is added to `times`."""
    got: dict[str, Any] = {}
    with suppress(ZeroDivisionError):
        async with layer.delivery(channel) as message:
            got = message
            if times is not None:
                times.append(time.monotonic())
            raise ZeroDivisionError("on purpose")
    return got


# Answers that are lost


async def test_a_take_whose_answer_is_lost_brings_the_same_messages_once(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    await sender.send("jobs", {"mark": "it is me"})
    proxy.drop_reply(which=with_(b"it is me"))
    assert await layer.receive("jobs") == {"mark": "it is me"}
    assert layer.statistics().reconnections == 1, "it was dropped"
    await nothing_is_left(sender)
    assert layer.statistics().redelivered == 0


async def test_an_acknowledgement_whose_answer_is_lost_loses_no_message(
    make_queue: MakeQueue, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    await sender.send("jobs", {"n": 1})
    proxy.drop_reply(which=with_(DONE))
    assert await layer.receive("jobs") == {"n": 1}
    assert layer.statistics().reconnections == 1
    await nothing_is_left(sender)
    assert "delivered again" not in caplog.text


async def test_a_handled_message_whose_acknowledgement_got_no_answer_is_handled(
    make_queue: MakeQueue, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    await sender.send("jobs", {"n": 1})
    async with layer.delivery("jobs"):
        proxy.drop_reply()
    assert layer.statistics().reconnections == 1
    await nothing_is_left(sender)
    assert "delivered again" not in caplog.text


async def test_a_message_is_given_back_once_if_the_answer_is_lost(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url], retry_delay=0), make_queue()
    await sender.send("jobs", {"n": 1})
    proxy.drop_reply(which=with_(GIVEN_BACK))
    assert await fail_on(layer) == {"n": 1}
    assert layer.statistics().reconnections == 1
    assert (await look(sender))["depth"] == 1
    assert await sender.receive("jobs") == {"n": 1}
    await nothing_is_left(sender)


async def test_what_is_restored_for_a_cancelled_receiver_is_restored_once(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer, other = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    of_layer = channel_of(layer)
    await other.send("jobs", {"n": 0})
    of_layer.keep_for_next(await of_layer.hold())
    assert await other.receive("jobs") == {"n": 0}, "now the server knows the scripts"
    await other.send("jobs", {"n": 1})
    of_layer.keep_for_next(await of_layer.receive())
    proxy.stop_reading("server")
    assert await other.receive("jobs") == {"n": 1}, "it came back, and the answer is not read"
    proxy.cut()
    proxy.forward()
    await until(lambda: layer.statistics().reconnections and not of_layer._work)
    await nothing_is_left(other)


# Cancellation


@pytest.mark.parametrize("how", ["receive", "delivery"])
async def test_a_receiver_that_is_cancelled_in_whatever_turn_loses_nothing_and_no_order(
    make_queue: MakeQueue, how: str
) -> None:
    layer = make_queue()
    got: list[int] = []

    async def get() -> None:
        if how == "receive":
            got.append((await layer.receive("jobs"))["n"])
        else:
            async with layer.delivery("jobs") as message:
                await asyncio.sleep(0)
                got.append(message["n"])

    for turns in range(60):
        await layer.send("jobs", {"n": turns})
        task = asyncio.create_task(get())
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    while len(got) < 60:
        async with asyncio.timeout(10):
            await get()
    assert got == list(range(60))
    await nothing_is_left(layer)


async def test_what_several_cancelled_receivers_leave_comes_in_its_order(make_queue: MakeQueue) -> None:
    layer = make_queue()
    for n in range(6):
        await layer.send("jobs", {"n": n})
    jobs = channel_of(layer)
    for message in [await jobs.hold() for _ in range(4)]:
        jobs.keep_for_next(message)
    assert [(await layer.receive("jobs"))["n"] for _ in range(6)] == list(range(6))


async def test_what_several_cancelled_receivers_leave_goes_back_in_its_order(make_queue: MakeQueue) -> None:
    layer, other = make_queue(), make_queue()
    for n in range(6):
        await layer.send("jobs", {"n": n})
    jobs = channel_of(layer)
    messages = [await jobs.hold() for _ in range(4)]
    for message in messages[::2] + messages[1::2]:
        jobs.keep_for_next(message)
    await until(lambda: not jobs.needs_lease)
    assert [(await other.receive("jobs"))["n"] for _ in range(6)] == list(range(6))
    assert other.statistics().redelivered == 0, "nobody has seen them"


async def test_what_was_acknowledged_for_a_cancelled_receiver_is_restored(make_queue: MakeQueue) -> None:
    layer, other = make_queue(), make_queue()
    await layer.send("jobs", {"n": 1})
    await layer.send("jobs", {"n": 2})
    jobs = channel_of(layer)
    jobs.keep_for_next(await jobs.receive())
    assert await other.receive("jobs") == {"n": 2}, "for a moment it is kept for who asks here"
    assert await other.receive("jobs") == {"n": 1}
    await nothing_is_left(other)


async def test_a_cancelled_handler_does_not_count_as_a_delivery(make_queue: MakeQueue) -> None:
    layer = make_queue(max_deliveries=2)
    await layer.send("jobs", {"n": 1})

    async def handle(begun: asyncio.Event) -> None:
        async with layer.delivery("jobs"):
            begun.set()
            await asyncio.Event().wait()

    for _ in range(5):
        begun = asyncio.Event()
        task = asyncio.create_task(handle(begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
    assert await layer.receive("jobs") == {"n": 1}
    assert layer.statistics().redelivered == 0


# Several


async def test_several_receivers_in_several_layers_get_each_message_once(make_queue: MakeQueue) -> None:
    layers = [make_queue(capacity=500) for _ in range(3)]
    got: list[int] = []

    async def receive(layer: RedisChannelLayer) -> None:
        while True:
            got.append((await layer.receive("jobs"))["n"])

    async def deliver(layer: RedisChannelLayer) -> None:
        while True:
            async with layer.delivery("jobs") as message:
                await asyncio.sleep(0)
            got.append(message["n"])

    tasks = [asyncio.create_task(act(layer)) for layer in layers for act in (receive, receive, deliver, deliver)]
    await asyncio.gather(*(layers[n % 3].send("jobs", {"n": n}) for n in range(300)))
    await until(lambda: len(got) >= 300)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert sorted(got) == list(range(300))
    await nothing_is_left(layers[0])


async def test_a_message_wakes_receivers_elsewhere_at_once(make_queue: MakeQueue) -> None:
    layer, sender = make_queue(), make_queue()
    for n in range(3):
        task = await waiting(layer)
        begun = time.monotonic()
        await sender.send("jobs", {"n": n})
        assert await task == {"n": n}
        assert time.monotonic() - begun < AT_ONCE


async def test_wake_ups_that_were_lost_with_their_connection_are_made_up_for(
    make_queue: MakeQueue, admin: "Redis"
) -> None:
    layer, sender = make_queue(QUIET), make_queue()
    await sender.send("other", {})
    task = await waiting(layer)
    admin.client_kill_filter(_type="pubsub")
    await sender.send("jobs", {"n": 1})
    async with asyncio.timeout(5):
        assert await task == {"n": 1}


async def test_receivers_that_may_not_listen_look_every_second(
    make_queue: MakeQueue, admin: "Redis", redis_server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    admin.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True)
    layer = make_queue(hosts=[f"redis://deaf:x@127.0.0.1:{redis_server.port}"])
    sender = make_queue()
    task = await waiting(layer)
    assert "nothing wakes the receivers of channel jobs" in caplog.text
    await sender.send("jobs", {"n": 1})
    async with asyncio.timeout(5):
        assert await task == {"n": 1}
    await layer.close()
    admin.acl_deluser("deaf")


async def test_receivers_whose_task_was_cancelled_by_who_cancels_all_get_another(
    make_queue: MakeQueue, quick: None
) -> None:
    layer, sender = make_queue(), make_queue()
    task = await waiting(layer)
    taker = channel_of(layer)._taker
    assert taker is not None
    taker.cancel()
    await asyncio.wait({taker})
    await sender.send("jobs", {"n": 1})
    async with asyncio.timeout(5):
        assert await task == {"n": 1}


async def test_what_a_cancelled_request_brought_is_asked_for_again(
    make_queue: MakeQueue, proxy: Proxy, quick: None
) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    task = await waiting(layer)
    proxy.delay(0.05)
    await sender.send("jobs", {"n": 1})
    jobs = channel_of(layer)
    await until(lambda: not jobs._is_answered)
    assert jobs._taker is not None
    jobs._taker.cancel()
    proxy.forward()
    async with asyncio.timeout(5):
        assert await task == {"n": 1}
    await nothing_is_left(sender)


async def test_who_is_woken_in_the_turn_in_which_its_time_is_over_is_woken(make_queue: MakeQueue) -> None:
    jobs = channel_of(make_queue())
    jobs._signal.clear()
    waiting = asyncio.create_task(jobs._signalled(0.01))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.011, jobs._signal.set)
    time.sleep(0.03)  # noqa: ASYNC251 - both are due when the loop goes on
    assert await waiting


# Refusals


async def test_a_refusal_that_passes_is_waited_out(
    own_server: ServerProcess, make_queue: MakeQueue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "TRY_AGAIN", 0.05)
    layer = make_queue(hosts=[own_server.url])
    await layer.send("jobs", {"n": 1})
    with Redis(port=own_server.port) as admin:
        admin.config_set("min-replicas-to-write", 1)
        task = asyncio.create_task(layer.receive("jobs"))
        await until(lambda: "NOREPLICAS" in caplog.text)
        assert not task.done()
        admin.config_set("min-replicas-to-write", 0)
    assert await task == {"n": 1}
    assert caplog.text.count("NOREPLICAS") == 1, "one line an episode"


async def test_a_refusal_that_stays_is_raised(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    key = f"{layer.prefix}|{{c:jobs}}|ready"
    admin.set(key, "no list")
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        await layer.receive("jobs")
    admin.delete(key)
    await layer.send("jobs", {"n": 1})
    assert await layer.receive("jobs") == {"n": 1}


# Leases


def die(layer: RedisChannelLayer) -> None:
    """Give no sign of life any more, as a process that is killed or blocked."""
    layer._here()._pulse.stop()


async def test_what_a_dead_worker_held_goes_to_another(
    make_queue: MakeQueue, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = make_queue(), make_queue()
    for n in range(3):
        await alive.send("jobs", {"n": n})
    taken = [await channel_of(dead).hold() for _ in range(2)]
    die(dead)
    assert [(await alive.receive("jobs"))["n"] for _ in range(3)] == [2, 0, 1]
    assert alive.statistics().redelivered == 2
    assert f"2 messages that dead workers held are given back, 0 are dead letters now ({dead.client_prefix}" in (
        caplog.text
    )
    assert not await channel_of(dead).acknowledge(taken[0]), "it comes too late"
    assert "its lease was over" in caplog.text


async def test_a_slow_handler_that_is_alive_keeps_its_message(make_queue: MakeQueue, quick: None) -> None:
    slow, other = make_queue(), make_queue()
    await slow.send("jobs", {"n": 1})
    task = None
    async with slow.delivery("jobs"):
        task = await waiting(other)
        await asyncio.sleep(1.5)  # three leases
        assert not task.done()
    await slow.send("jobs", {"n": 2})
    assert await task == {"n": 2}
    assert other.statistics().redelivered == 0


async def test_a_message_that_kills_its_worker_too_often_is_a_dead_letter(make_queue: MakeQueue, quick: None) -> None:
    dead, alive = make_queue(), make_queue(max_deliveries=1)
    await alive.send("jobs", {"n": 1})
    await channel_of(dead).hold()
    die(dead)
    task = await waiting(alive)
    await until(lambda: alive.statistics().dead_lettered)
    (letter,) = await alive.dead_letters.list("jobs")
    assert (letter.message, letter.reason, letter.deliveries) == ({"n": 1}, "max_deliveries", 1)
    assert letter.error == "its worker died while it handled the message"
    assert not task.done()
    task.cancel()


async def test_with_the_real_lease_a_dead_worker_is_noticed_within_ten_seconds(make_queue: MakeQueue) -> None:
    dead, alive = make_queue(), make_queue()
    await alive.send("jobs", {"n": 1})
    await channel_of(dead).hold()
    die(dead)
    async with asyncio.timeout(10):
        assert await alive.receive("jobs") == {"n": 1}


async def test_nobody_alive_is_robbed_after_a_server_was_stopped(
    own_server: ServerProcess, make_queue: MakeQueue, quick: None
) -> None:
    async with asyncio.TaskGroup() as group:
        crew = await Crew.at_work(make_queue, own_server, group)
        await crew.live_through_a_stop()
        await asyncio.sleep(1.25)  # two leases and a half
        assert crew.robbed == 0
        crew.finish()


async def test_twin_without_the_rule_of_unbroken_runs_they_are(
    own_server: ServerProcess, make_queue: MakeQueue, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = scripts.Script("keep")
    weak._text = weak._text.replace(b"if now - run >= tonumber(ARGV[2]) then", b"if true then")
    assert weak._text != scripts.KEEP._text
    weak._sha = b"0" * 40  # it is sent whole each time
    monkeypatch.setattr(held, "KEEP", weak)
    async with asyncio.TaskGroup() as group:
        crew = await Crew.at_work(make_queue, own_server, group)
        await crew.live_through_a_stop()
        await until(lambda: crew.robbed > 0)
        crew.finish()


class Crew:
    """Workers that each handle a message, and one that waits for more."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.idle: RedisChannelLayer
        self.waiting: asyncio.Task[None]
        self.done = asyncio.Event()
        self.begun = 0

    @classmethod
    async def at_work(cls, make_queue: MakeQueue, server: ServerProcess, group: asyncio.TaskGroup) -> "Crew":
        crew = cls(server)
        for n in range(4):
            worker = make_queue(QUIET, hosts=[server.url])
            await worker.send("jobs", {"n": n})
            group.create_task(crew.handle(worker))
        await until(lambda: crew.begun == 4)
        crew.idle = make_queue(QUIET, hosts=[server.url])
        crew.waiting = group.create_task(crew.take_all())
        await until(lambda: channel_of(crew.idle)._request)
        return crew

    async def handle(self, worker: RedisChannelLayer) -> None:
        async with worker.delivery("jobs"):
            self.begun += 1
            await self.done.wait()

    async def take_all(self) -> None:
        while True:
            await self.idle.receive("jobs")

    async def live_through_a_stop(self) -> None:
        await asyncio.sleep(0.75)  # more than a lease: who would rob has had its time
        self.server.pause()
        await asyncio.sleep(0.75)
        self.server.resume()

    @property
    def robbed(self) -> int:
        return self.idle.statistics().redelivered

    def finish(self) -> None:
        self.waiting.cancel()
        self.done.set()


# Redelivery


async def test_a_message_comes_again_later_each_time_and_then_is_a_dead_letter(
    make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make_queue(retry_delay=0.05, max_deliveries=4)
    await layer.send("jobs", {"n": 1})
    times: list[float] = []
    for _ in range(4):
        assert await fail_on(layer, times=times) == {"n": 1}
    pauses = [after - before for before, after in pairwise(times)]
    assert [pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)] == [True] * 3
    assert sum(pauses) < 20
    (letter,) = await layer.dead_letters.list("jobs")
    assert (letter.message, letter.reason, letter.deliveries) == ({"n": 1}, "max_deliveries", 4)
    assert letter.error == "ZeroDivisionError: on purpose"
    statistics = layer.statistics()
    assert (statistics.received, statistics.redelivered, statistics.dead_lettered) == (4, 3, 1)
    assert "a dead letter after 4 deliveries (max_deliveries): ZeroDivisionError" in caplog.text


async def test_a_message_that_fails_holds_up_nobody(make_queue: MakeQueue) -> None:
    layer = make_queue(retry_delay=0.3)
    for n in range(3):
        await layer.send("jobs", {"n": n})
    assert await fail_on(layer) == {"n": 0}
    assert (await look(layer))["delayed"] == 1
    assert [(await layer.receive("jobs"))["n"] for _ in range(2)] == [1, 2]
    assert (await layer.receive("jobs")) == {"n": 0}, "nobody else woke us"


async def test_a_message_that_is_due_comes_before_those_that_wait(make_queue: MakeQueue) -> None:
    layer = make_queue(retry_delay=0.01)
    for n in range(3):
        await layer.send("jobs", {"n": n})
    await fail_on(layer)
    await asyncio.sleep(0.02)  # it is due
    assert [(await layer.receive("jobs"))["n"] for _ in range(3)] == [0, 1, 2]


async def test_what_nobody_can_read_is_a_dead_letter_and_the_others_are_received(make_queue: MakeQueue) -> None:
    layer, stranger = make_queue(symmetric_encryption_keys=["a" * 16]), make_queue(symmetric_encryption_keys=["b" * 16])
    await stranger.send("jobs", {"n": 1})
    await layer.send("jobs", {"n": 2})
    assert await layer.receive("jobs") == {"n": 2}
    await until(lambda: layer.statistics().dead_lettered)
    (letter,) = await layer.dead_letters.list("jobs")
    assert (letter.message, letter.reason, letter.deliveries) == (None, "undecodable", 1)
    assert letter.error == "it cannot be read: has its sender other keys?"
    (letter,) = await stranger.dead_letters.list("jobs")
    assert letter.message == {"n": 1}, "who has the key reads it"
    assert layer.statistics().dropped["undecodable"] >= 1


# Expiry


async def test_what_was_fetched_for_nobody_goes_on_expiring(make_queue: MakeQueue) -> None:
    layer, other = make_queue(expiry=2, capacity=1), make_queue()
    await layer.send("jobs", {"n": 1})
    jobs = channel_of(layer)
    jobs.keep_for_next(await jobs.hold())
    await until(lambda: not jobs.needs_lease)
    with pytest.raises(ChannelFull):
        await layer.send("jobs", {"n": 2})
    await asyncio.sleep(2)
    await layer.send("jobs", {"n": 3})
    assert await other.receive("jobs") == {"n": 3}
    assert layer.statistics().dropped == {"expired": 1}


async def test_what_a_handler_gave_back_does_not_expire(make_queue: MakeQueue) -> None:
    layer = make_queue(expiry=1.5, retry_delay=0)
    await layer.send("jobs", {"n": 1})
    await fail_on(layer)
    await asyncio.sleep(1.6)
    assert await layer.receive("jobs") == {"n": 1}


# The end


async def test_closing_and_releasing_tell_who_waits(make_queue: MakeQueue) -> None:
    layer = make_queue()
    for end, error in ((layer.close(), ChannelLayerClosed), (layer.release_channel("jobs"), ChannelReleased)):
        task = await waiting(layer)
        begun = time.monotonic()
        await end
        assert time.monotonic() - begun < QUICKLY
        with pytest.raises(error):
            await task
    await layer.send("jobs", {"n": 1})
    assert await layer.receive("jobs") == {"n": 1}


async def test_closing_while_a_request_is_under_way_is_quick_and_loses_nothing(
    make_queue: MakeQueue, proxy: Proxy
) -> None:
    layer, other = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    await other.send("jobs", {"n": 1})
    proxy.delay(0.02)
    task = asyncio.create_task(layer.receive("jobs"))
    await until(lambda: channel_of(layer)._taking)
    begun = time.monotonic()
    await layer.close()
    assert time.monotonic() - begun < QUICKLY
    with pytest.raises(ChannelLayerClosed):
        await task
    assert await other.receive("jobs") == {"n": 1}
    assert other.statistics().redelivered == 0


async def test_what_is_handled_while_the_layer_is_closed_goes_to_another_at_once(
    make_queue: MakeQueue, proxy: Proxy
) -> None:
    layer, other = make_queue(hosts=[proxy.url]), make_queue()
    for n in range(2):
        await other.send("jobs", {"n": n})
    async with layer.delivery("jobs") as message:
        assert message == {"n": 0}
        await layer.close()
        async with asyncio.timeout(2):
            assert [(await other.receive("jobs"))["n"] for _ in range(2)] == [0, 1]
    await until(lambda: proxy.connections == 0, "the end of a handler opens no connection again")
    await nothing_is_left(other)


async def test_a_layer_that_was_closed_begins_afresh(make_queue: MakeQueue) -> None:
    layer, sender = make_queue(), make_queue()
    for n in range(3):
        await sender.send("jobs", {"n": n})
        begun = time.monotonic()
        assert await layer.receive("jobs") == {"n": n}
        assert time.monotonic() - begun < AT_ONCE
        await layer.close()


async def test_what_a_layer_could_not_give_back_when_it_was_closed_is_not_held_by_its_next_life(
    make_queue: MakeQueue, proxy: Proxy, quick: None
) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    await sender.send("jobs", {"n": 1})
    await channel_of(layer).hold()
    proxy.close()
    await layer.close()
    proxy.forward()
    async with asyncio.timeout(5):
        assert await layer.receive("jobs") == {"n": 1}


async def test_a_reader_that_is_closed_gives_back_what_it_has_read_ahead(make_queue: MakeQueue) -> None:
    layer, other = make_queue(), make_queue()
    for n in range(3):
        await other.send("jobs", {"n": n})
    reader = layer.reader("jobs")
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reader.add_waiter(waiter)
    await waiter
    assert reader.take() == {"n": 0}
    await until(lambda: layer.statistics().received == 1)
    reader.close()
    jobs = channel_of(layer)
    await until(lambda: not jobs.needs_lease and not jobs._work)
    assert [(await other.receive("jobs"))["n"] for _ in range(2)] == [1, 2]
    await nothing_is_left(other)


async def test_a_channel_at_rest_is_forgotten_and_comes_back(
    make_queue: MakeQueue, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "IDLE", 0.1)
    layer = make_queue()
    reader = layer.reader("jobs")
    for n in range(3):
        await layer.send("jobs", {"n": n})
        assert await layer.receive("jobs") == {"n": n}
        await until(lambda: not layer._here().shared)
    await layer.send("jobs", {"n": 3})
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    reader.add_waiter(waiter)
    await waiter
    assert reader.take() == {"n": 3}
    reader.close()
