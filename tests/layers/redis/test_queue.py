"""What the queue promises beyond the contract of every layer."""

import asyncio
import os
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from fast_channels.exceptions import ChannelReleased, ForeignChannelError, InvalidNameError
from fast_channels.layers.reader import EMPTY, ChannelReader
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.queue import RedisChannelLayer as FromQueue
from tests.layers.redis.conftest import MakeQueue
from tests.support.waiting import until

KEYS = ["a key of thirty-two characters...", "and another one, which was older"]


async def next_of(reader: ChannelReader) -> Any:
    while (message := reader.take()) is EMPTY:
        waiter = asyncio.get_running_loop().create_future()
        reader.add_waiter(waiter)
        async with asyncio.timeout(10):
            await waiter
    return message


# How it is made


def test_there_is_one_class() -> None:
    assert FromQueue is RedisChannelLayer
    assert RedisChannelLayer.extensions == ["groups", "flush", "delivery", "dead_letters"]


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("expiry", 0, "expiry must be more than 0 seconds, not 0"),
        ("group_expiry", 0, "group_expiry must be more than 0 seconds, not 0"),
        ("group_expiry", -1, "group_expiry must be more than 0 seconds, not -1"),
        ("capacity", 0, "a capacity is a whole number of messages, at least 1, not 0"),
        ("channel_capacity", {"a*": 0}, "a capacity is a whole number"),
        ("max_deliveries", 0, "max_deliveries must be at least 1, not 0"),
        ("retry_delay", -0.1, "retry_delay must not be less than 0 seconds, not -0.1"),
        ("prefix", "a{b", "prefix"),
        ("prefix", "a|b", "prefix"),
        ("hosts", [None], "REDIS_URL"),
        ("hosts", "redis://localhost", "list"),
        ("symmetric_encryption_keys", KEYS[0], "list"),
        ("serializer_format", "yaml", "yaml"),
    ],
)
def test_what_makes_no_sense_is_refused(option: str, value: Any, complaint: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError), match=re.escape(complaint)):
        RedisChannelLayer(**{option: value})


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        RedisChannelLayer(colour="red")  # type: ignore[call-arg]


def test_options_are_taken_by_position_as_they_always_were() -> None:
    layer = RedisChannelLayer(["redis://h"], "p", 10, 20, 30, {"a*": 5}, None, 12, "json")
    assert (layer.prefix, layer.expiry, layer.group_expiry, layer.capacity) == ("p", 10, 20, 30)
    assert layer.get_capacity("abc") == 5
    assert layer.serialize({"a": 1}) == b'{"a":1}'


def test_the_shortest_times_are_not_rounded_to_nothing() -> None:
    layer = RedisChannelLayer(expiry=0.0001, group_expiry=0.0001)
    assert (layer._wiring.expiry, layer._wiring.group_expiry) == (1, 1)


async def test_a_format_and_several_keys_go_with_everything(make_queue: MakeQueue) -> None:
    options = {"serializer_format": "json", "symmetric_encryption_keys": KEYS}
    layer, former = make_queue(**options), make_queue(**{**options, "symmetric_encryption_keys": KEYS[1:]})
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("room", "jobs")
    await former.group_send("room", {"n": 1})
    await former.send(channel, {"n": 2})
    await former.send("jobs", {"n": 3})
    assert [await layer.receive(channel) for _ in range(2)] == [{"n": 1}, {"n": 2}]
    assert [await layer.receive("jobs") for _ in range(2)] == [{"n": 1}, {"n": 3}]
    assert layer.statistics().dropped == {}


async def test_a_message_that_was_moved_to_another_channel_cannot_be_read(
    make_queue: MakeQueue, admin: "Redis"
) -> None:
    layer = make_queue(symmetric_encryption_keys=KEYS)
    await layer.send("jobs", {"n": 1})
    for part in ("ready", "payloads", "states"):
        admin.rename(f"{layer.prefix}|{{c:jobs}}|{part}", f"{layer.prefix}|{{c:other}}|{part}")
    receiving = asyncio.create_task(layer.receive("other"))
    await until(lambda: layer.statistics().dead_lettered)
    assert not receiving.done()
    receiving.cancel()


# Identity


async def test_a_forked_child_is_somebody_else_and_takes_nobodys_messages(make_queue: MakeQueue) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    mine = layer.client_prefix
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # its loop is the parent's, which it leaves alone
        try:
            os.write(write, f"{layer.client_prefix} {bool(layer._parts)}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs, has_parts = pipe.read().split()
    await asyncio.to_thread(os.waitpid, child, 0)
    assert theirs != mine
    assert has_parts == "False"
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}


async def test_nobody_receives_on_what_belongs_to_another(make_queue: MakeQueue) -> None:
    layer, other = make_queue(), make_queue()
    channel = await layer.new_channel()
    with pytest.raises(ForeignChannelError):
        await other.receive(channel)
    with pytest.raises(AssertionError):
        async with other.delivery(channel):
            pass
    with pytest.raises(ForeignChannelError):
        await next_of(other.reader(channel))


# Readers and deliveries


async def test_a_reader_of_a_shared_channel_takes_turns_with_other_receivers(make_queue: MakeQueue) -> None:
    layer, other = make_queue(), make_queue()
    for n in range(4):
        await other.send("jobs", {"n": n})
    reader = layer.reader("jobs")
    assert await next_of(reader) == {"n": 0}
    assert await next_of(reader) == {"n": 1}
    reader.close()
    await until(lambda: "0 waiting, 0 held" in repr(layer._here().shared_channel("jobs")))
    assert sorted([(await other.receive("jobs"))["n"] for _ in range(2)]) == [2, 3]
    assert layer.statistics().received == 2


async def test_a_reader_of_a_channel_that_is_released_says_so(make_queue: MakeQueue) -> None:
    layer = make_queue()
    for channel in (await layer.new_channel(), "jobs"):
        reader = layer.reader(channel)
        assert reader.take() is EMPTY
        waiter = asyncio.get_running_loop().create_future()
        reader.add_waiter(waiter)
        await asyncio.sleep(0.05)  # it is under way
        await layer.release_channel(channel)
        with pytest.raises(ChannelReleased):
            await next_of(reader)


async def test_a_bad_name_is_refused_at_the_call(make_queue: MakeQueue) -> None:
    layer = make_queue()
    with pytest.raises(InvalidNameError):
        layer.reader("no name")
    for name in ("no name", None):
        with pytest.raises(InvalidNameError):
            async with layer.delivery(name):  # type: ignore[arg-type]
                pass
        with pytest.raises(InvalidNameError):
            await layer.receive(name)  # type: ignore[arg-type]


async def test_a_specific_channels_delivery_comes_again_at_once(make_queue: MakeQueue) -> None:
    layer = make_queue(retry_delay=60, max_deliveries=1, symmetric_encryption_keys=KEYS)
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    for _ in range(3):
        with suppress(ZeroDivisionError):
            async with layer.delivery(channel) as message:
                message["n"] += 1
                raise ZeroDivisionError
    assert await layer.receive(channel) == {"n": 1}
    assert layer.statistics().dead_lettered == 0


async def test_a_handler_of_a_shared_channel_that_fails_is_counted_and_one_that_succeeds_ends_it(
    make_queue: MakeQueue,
) -> None:
    layer = make_queue(retry_delay=0)
    await layer.send("jobs", {"n": 1})
    with suppress(ZeroDivisionError):
        async with layer.delivery("jobs") as message:
            message["n"] = 2  # its own
            raise ZeroDivisionError
    async with layer.delivery("jobs") as message:
        assert message == {"n": 1}
    statistics = layer.statistics()
    assert (statistics.received, statistics.redelivered, statistics.dead_lettered) == (2, 1, 0)
    assert "jobs" not in str((await layer.inspect())["channels"].get("jobs", {}).get("held", {}))


# Groups


@pytest.mark.parametrize("keys", [None, KEYS])
async def test_a_shared_channel_in_a_group_gets_a_message_for_one_receiver(
    make_queue: MakeQueue, keys: list[str] | None
) -> None:
    first, second, sender = [make_queue(symmetric_encryption_keys=keys) for _ in range(3)]
    own = await first.new_channel()
    await first.group_add("room", own)
    await first.group_add("room", "jobs")
    await second.group_add("room", "jobs")
    await sender.group_send("room", {"n": 1})
    assert await first.receive(own) == {"n": 1}
    receiving = [asyncio.create_task(layer.receive("jobs")) for layer in (first, second)]
    done, _ = await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [{"n": 1}]
    await sender.group_send("room", {"n": 2})
    await asyncio.wait(receiving)
    assert sorted(task.result()["n"] for task in receiving) == [1, 2]


async def test_a_shared_channel_that_is_full_loses_a_groups_message_alone(
    make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make_queue(capacity=1)
    own = await layer.new_channel()
    for channel in (own, "jobs"):
        await layer.group_add("room", channel)
    caplog.set_level("INFO")
    for n in range(2):
        await layer.group_send("room", {"n": n})
        assert await layer.receive(own) == {"n": n}
    assert layer.statistics().dropped == {"over_capacity": 1}
    assert "a message of group room is dropped: over capacity" in caplog.text
    assert await layer.receive("jobs") == {"n": 0}


async def test_who_takes_a_shared_channel_out_of_a_group_does_so_for_all(make_queue: MakeQueue, admin: "Redis") -> None:
    layer, other = make_queue(), make_queue()
    await layer.group_add("room", "jobs")
    await other.group_discard("room", "jobs")
    await layer.group_send("room", {"n": 1})
    assert "jobs" not in (await layer.inspect())["channels"]
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"n": 2})
    assert await other.receive("jobs") == {"n": 2}


# Flushing


async def test_a_flush_empties_the_channels_of_all_processes(make_queue: MakeQueue, admin: "Redis") -> None:
    layer, other = make_queue(), make_queue()
    channel = await other.new_channel()
    await other.group_add("room", channel)
    await other.send(channel, {"n": 0})
    await other.send("jobs", {"n": 0})
    await until(lambda: other._here().inboxes[other.client_prefix].local.mailboxes[channel])
    await layer.flush()
    await layer.group_send("room", {"n": 1})
    await until(lambda: not other._here().inboxes[other.client_prefix].local.groups)
    await layer.send(channel, {"n": 2})
    await layer.send("jobs", {"n": 3})
    assert await other.receive(channel) == {"n": 2}
    assert await other.receive("jobs") == {"n": 3}
    await other.group_add("room", channel)
    await layer.group_send("room", {"n": 4})
    assert await other.receive(channel) == {"n": 4}


async def test_a_flush_ends_what_a_handler_holds(make_queue: MakeQueue, caplog: pytest.LogCaptureFixture) -> None:
    layer = make_queue()
    await layer.send("jobs", {"n": 1})
    async with layer.delivery("jobs"):
        await layer.flush()
    await layer.send("jobs", {"n": 2})
    assert await layer.receive("jobs") == {"n": 2}
    assert (await layer.inspect())["channels"]["jobs"]["held"] == {}


# Closing


async def test_a_layer_that_was_not_used_closes_without_a_server() -> None:
    begun = time.monotonic()
    async with RedisChannelLayer(["redis://127.0.0.1:1"]):
        pass
    assert time.monotonic() - begun < 0.5


async def test_an_inbox_that_is_read_while_its_layer_closes_starts_no_pulse_again(make_queue: MakeQueue) -> None:
    layer = make_queue()
    await layer.new_channel()
    hub = layer._here()
    closing = asyncio.create_task(layer.close())
    while not closing.done():
        hub.is_read()
        await asyncio.sleep(0)
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
