"""The queue on a server to which others write: what is no message is counted and set aside, the rest goes on."""

import asyncio
import random
import time
from typing import Any

import msgspec
import pytest

from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.envelope import Control
from fast_channels.layers.redis.keys import InboxKeys, QueueKeys, SharedKeys
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.names import client_of
from tests.security.conftest import MakeQueue
from tests.security.garbage import NO_MAPS, NO_MESSAGES, SEED, WORDS, heads, spoil
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("nothing_fails")

SHARED = {
    "ready": "list",
    "payloads": "fields",  # a payload itself may be anything: see above
    "states": "hash",
    "delayed": "sorted set",
    "held": "fields",  # whoever puts another name at a message holds it, for a lease
    "leases": "hash",
    "requests": "hash",
    "dead": "sorted set",
    "reports": "hash",
    "marks": "hash",
}
"""The keys of a shared channel, with their types."""

INBOX = {"meta": "hash", "accepted": "hash", "handed": "hash", "groups": "set"}
"""Those of an inbox, but for the stream."""


def undecodable(layer: RedisChannelLayer) -> int:
    return layer.statistics().dropped.get("undecodable", 0)


async def next_of(layer: RedisChannelLayer, channel: str) -> Any:
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


def test_every_key_is_spoilt() -> None:
    assert set(SHARED) == set(SharedKeys._fields)
    assert {*INBOX, "stream"} == set(InboxKeys._fields)


# Payloads


@pytest.mark.parametrize("keys", [None, ["a secret of ours"]], ids=["plain", "encrypted"])
async def test_what_is_no_message_in_a_shared_channel_is_a_dead_letter(
    make_queue: MakeQueue, admin: Any, keys: list[str] | None
) -> None:
    layer = make_queue(symmetric_encryption_keys=keys)
    payloads = QueueKeys(layer.prefix).shared("jobs").payloads
    bad = [*NO_MESSAGES, *NO_MAPS]
    for _ in bad:
        await layer.send("jobs", {"type": "good"})
    for id, payload in zip(admin.hkeys(payloads), bad, strict=True):
        admin.hset(payloads, id, payload)
    await layer.send("jobs", {"type": "after"})
    assert await next_of(layer, "jobs") == {"type": "after"}
    assert undecodable(layer) == len(bad)
    await until(lambda: layer.statistics().dead_lettered == len(bad))
    letters = await layer.dead_letters.list("jobs")
    assert {(letter.reason, letter.message) for letter in letters} == {("undecodable", None)}


async def test_a_layer_that_did_not_look_would_hand_it_over(
    make_queue: MakeQueue, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisChannelLayer, "_only_dicts", RedisLayer._only_dicts)
    layer = make_queue()
    payloads = QueueKeys(layer.prefix).shared("jobs").payloads
    await layer.send("jobs", {"type": "good"})
    admin.hset(payloads, admin.hkeys(payloads)[0], msgspec.msgpack.encode([1, 2]))
    assert await next_of(layer, "jobs") == [1, 2]


@pytest.mark.parametrize("keys", [None, ["a secret of ours"]], ids=["plain", "encrypted"])
async def test_what_is_no_message_in_an_inbox_is_passed_over(
    make_queue: MakeQueue, admin: Any, keys: list[str] | None
) -> None:
    layer = make_queue(symmetric_encryption_keys=keys)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    stream = QueueKeys(layer.prefix).inbox(client_of(channel)).stream
    bad = [*NO_MESSAGES, *NO_MAPS]
    for payload in bad:
        admin.xadd(stream, {f"d60000|{channel}": payload})
        admin.xadd(stream, {"g60000|room": payload})
        admin.xadd(stream, {"k0|": payload})
    await layer.send(channel, {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    assert undecodable(layer) == 3 * len(bad)


async def test_heads_that_mean_nothing_are_passed_over(make_queue: MakeQueue, admin: Any) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    stream = QueueKeys(layer.prefix).inbox(client_of(channel)).stream
    chance = random.Random(SEED)
    for head in heads():
        if head[:1] == b"f":  # of which some mean something: the layer is emptied
            continue
        admin.xadd(stream, {head: chance.choice([b"", b"\x80", b"\x81\xa4type\xa1x", b"\xc1"])})
    for _ in range(300):
        admin.xadd(stream, {chance.randbytes(chance.randrange(40)): chance.randbytes(chance.randrange(40))})
    for bad in (b"f0|", b"fx|", b"f"):
        admin.xadd(stream, {bad: b"no number"})
    await layer.send(channel, {"type": "after"})
    while await next_of(layer, channel) != {"type": "after"}:
        pass  # some of them were messages
    assert undecodable(layer) > 300
    await layer.group_send("room", {"type": "still a member"})
    assert await next_of(layer, channel) == {"type": "still a member"}


async def test_a_message_that_expires_in_a_thousand_years_does_not_break_the_clock(
    make_queue: MakeQueue, admin: Any
) -> None:
    """What waits is looked for when it expires: that can be no more than a timer can count."""
    layer = make_queue()
    channel = await layer.new_channel()
    stream = QueueKeys(layer.prefix).inbox(client_of(channel)).stream
    admin.xadd(stream, {f"d{'9' * 400}|{channel}": b"\x81\xa4type\xa1x"})
    assert await next_of(layer, channel) == {"type": "x"}


CONTROLS: list[dict[str, Any]] = [
    {"op": "join", "group": "room", "channel": "jobs"},  # a shared channel has no owner who could be asked
    {"op": "join", "group": "room\n", "channel": "specific.{client}!x"},
    {"op": "join", "group": "room", "channel": "specific.{client}!x\n"},
    {"op": "join", "group": "room", "channel": "specific.{client}!x", "client": "no body|{x}"},
    {"op": "dance\n2024 a line", "group": "room", "channel": "specific.{client}!x"},
    {"op": "join", "group": 5, "channel": "specific.{client}!x"},
    {"op": "done", "id": "x"},
    {"op": "join", "id": 1e30},
]


async def test_requests_that_nobody_may_make_are_passed_over(make_queue: MakeQueue, admin: Any) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    client = client_of(channel)
    stream = QueueKeys(layer.prefix).inbox(client).stream
    for control in CONTROLS:
        whole = {"id": 1, "client": client, **control}
        whole["channel"] = str(whole.get("channel", "")).replace("{client}", client)
        fields = [whole.get(name, "") for name in Control._fields]
        admin.xadd(stream, {"k0|": msgspec.msgpack.encode(fields)})
    await layer.send(channel, {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    assert undecodable(layer) == len(CONTROLS)
    assert (await layer.inspect())["groups"] == {}


# Keys


@pytest.mark.parametrize("name", SHARED)
async def test_garbage_in_a_key_of_a_shared_channel_stops_nobody(make_queue: MakeQueue, admin: Any, name: str) -> None:
    layer = make_queue(capacity=10_000, retry_delay=0)
    key = getattr(QueueKeys(layer.prefix).shared("jobs"), name)
    for number, word in enumerate(WORDS):
        before = asyncio.ensure_future(next_of(layer, "jobs")) if number % 2 else None
        spoil(admin, key, SHARED[name], word)
        await layer.send("jobs", {"type": "test", "number": number})
        spoil(admin, key, SHARED[name], word)
        if before is not None:
            got = await before
        else:
            async with asyncio.timeout(PATIENCE), layer.delivery("jobs") as got:
                spoil(admin, key, SHARED[name], word)
        assert got == {"type": "test", "number": number}
    assert "jobs" in (await layer.inspect())["channels"]
    await layer.dead_letters.list("jobs")
    await layer.dead_letters.channels()


@pytest.mark.parametrize("name", [*INBOX, "answered"])
async def test_garbage_in_a_key_of_an_inbox_stops_nobody(make_queue: MakeQueue, admin: Any, name: str) -> None:
    layer, other = make_queue(), make_queue()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    keys = QueueKeys(layer.prefix)
    inbox = keys.inbox(client_of(channel))
    key = keys.answered(inbox.meta, other.client_prefix) if name == "answered" else getattr(inbox, name)
    for number, word in enumerate(WORDS):
        if name == "meta" and not number % 5:
            admin.hset(key, "in", word)  # and the epoch stays: the inbox is not made again
        elif name != "meta":
            spoil(admin, key, INBOX.get(name, "string"), word)
        await other.send(channel, {"type": "test", "number": number})
        assert await next_of(layer, channel) == {"type": "test", "number": number}
    if name == "meta":
        spoil(admin, key, "hash", b"garbage")
        await came_back(layer, other, channel)
    await layer.inspect()
    await layer.flush()
    await came_back(layer, other, channel)


async def came_back(layer: RedisChannelLayer, other: RedisChannelLayer, channel: str) -> None:
    """Returns when what is sent arrives: an inbox that was lost is made again within a second."""
    receiving = asyncio.ensure_future(next_of(layer, channel))
    while not receiving.done():
        await other.send(channel, {"type": "again"})
        await asyncio.wait({receiving}, timeout=0.05)
    assert receiving.result() == {"type": "again"}


async def test_garbage_among_the_members_of_a_group_is_taken_out(make_queue: MakeQueue, admin: Any) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("room", "jobs")
    key = QueueKeys(layer.prefix).group("room")
    for word in WORDS:
        admin.zadd(key, {word: 10**15})
    await layer.inspect()
    await layer.group_send("room", {"type": "heard"})
    assert await next_of(layer, channel) == {"type": "heard"}
    assert await next_of(layer, "jobs") == {"type": "heard"}
    assert undecodable(layer) == len(WORDS)
    await until(lambda: admin.zcard(key) == 2)


async def test_garbage_among_the_leases_keeps_no_dead_client_from_being_buried(
    make_queue: MakeQueue, admin: Any
) -> None:
    layer = make_queue()
    await layer.new_channel()
    keys = QueueKeys(layer.prefix)
    ends, runs = keys.leases()
    dead = keys.inbox("dead")
    admin.hset(dead.meta, mapping={"epoch": "1", "until": "0", "in": "garbage"})
    admin.hset(dead.accepted, mapping={"x": "garbage", "y": "3"})
    admin.sadd(dead.groups, b"room", b"\xff", b"two\nlines")
    admin.zadd(keys.group("room"), {"i:dead:1": 10**15, "i:other:1": 10**15})
    for place, word in enumerate(WORDS):
        admin.zadd(ends, {word: place + 1})
        admin.hset(runs, word or b"-", word)
    admin.zadd(ends, {"dead": len(WORDS) + 1})
    begun = int(time.time() * 1000) - 60_000
    admin.hset(runs, layer.client_prefix, begun)  # that of a process which has been there for a minute
    await until(lambda: not admin.exists(dead.meta))
    await until(lambda: admin.zrange(keys.group("room"), 0, -1) == [b"i:other:1"])
    await until(lambda: admin.zcard(ends) == 1)
    assert layer.statistics().dropped == {"owner_gone": 3}


async def test_keys_of_another_type_are_healed_by_a_flush(make_queue: MakeQueue, admin: Any) -> None:
    layer, other = make_queue(), make_queue()
    channel = await layer.new_channel()
    keys = QueueKeys(layer.prefix)
    for key in (*keys.inbox(client_of(channel)), *keys.shared("jobs"), keys.group("room")):
        admin.delete(key)
        admin.set(key, "garbage")
    admin.set(f"{layer.prefix}|garbage", "garbage")
    await other.flush()
    await came_back(layer, other, channel)
    await layer.send("jobs", {"type": "heard"})
    assert await next_of(layer, "jobs") == {"type": "heard"}
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "again"})
    while (await next_of(layer, channel))["type"] != "again":
        pass


async def test_other_channels_do_not_notice(make_queue: MakeQueue, admin: Any) -> None:
    """Not even if a channel's keys are of another type: only who uses that channel has the error."""
    layer = make_queue()
    for key in QueueKeys(layer.prefix).shared("broken"):
        admin.set(key, "garbage")
    waiting = asyncio.ensure_future(layer.receive("broken"))
    await layer.send("jobs", {"type": "heard"})
    assert await next_of(layer, "jobs") == {"type": "heard"}
    with pytest.raises(Exception, match="WRONGTYPE"):
        await layer.send("broken", {"type": "lost"})
    with pytest.raises(Exception, match="WRONGTYPE"):
        await asyncio.wait_for(waiting, PATIENCE)
