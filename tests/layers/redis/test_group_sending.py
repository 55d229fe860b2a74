"""A message of the queue to groups: one entry for each inbox, whatever the groups say of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.group_sending import AudienceLetters, GroupLetters, head_and_context
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.names import client_of
from tests.layers.redis.conftest import MakeQueue
from tests.support.waiting import PATIENCE, until

KEYS = QueueKeys("asgi")


# What is written


def encode(message: Any, context: bytes) -> bytes:
    return f"{message} for ".encode() + context


def letters(audience: Audience, encrypted: bool = True) -> AudienceLetters:
    head, context = head_and_context(KEYS, Audience(audience.groups), 500)
    return AudienceLetters(KEYS, audience, "hello", encode("hello", context), head, 500, encode if encrypted else None)


def test_to_name_who_is_excluded_costs_the_inbox_where_they_are() -> None:
    one = letters(Audience(("room",), frozenset({"s.c1!a", "s.c1!b", "s.c2!a", "jobs"})))
    assert one.for_inbox("c1")[0] == b"m500|room|s.c1!a,s.c1!b"
    assert one.for_inbox("c2")[0] == b"m500|room|s.c2!a"
    assert one.for_inbox("c3") == (b"g500|room", encode("hello", KEYS.group("room")))


def test_several_groups_are_named_to_all() -> None:
    one = letters(Audience(("room", "hall"), frozenset({"s.c1!a"})))
    assert one.for_inbox("c1")[0] == b"m500|room,hall|s.c1!a"
    assert one.for_inbox("c3")[0] == b"m500|room,hall|"


@pytest.mark.parametrize("client", ["c1", "c3"])
def test_a_message_is_encrypted_for_what_its_head_says(client: str) -> None:
    head, payload = letters(Audience(("room", "hall"), frozenset({"s.c1!a"}))).for_inbox(client)
    assert payload == encode("hello", KEYS.audience_context(head.partition(b"|")[2].decode()))


def test_what_is_not_encrypted_is_encoded_once() -> None:
    one = letters(Audience(("room",), frozenset({"s.c1!a"})), encrypted=False)
    assert one.for_inbox("c1")[1] is one.for_inbox("c3")[1] is one.for_context(b"somebody else")


def test_a_message_to_one_group_is_the_same_for_all() -> None:
    one = GroupLetters("hello", b"payload", b"head", 500, encode)
    assert one.for_inbox("c1") == one.for_inbox("c2") == (b"head", b"payload")
    assert one.for_context(b"jobs") == b"hello for jobs"


# What is sent


def members(admin: Redis, layer: RedisChannelLayer, group: str) -> Mapping[str, float]:
    found: Any = admin.zrange(QueueKeys(layer.prefix).group(group), 0, -1, withscores=True)
    return dict(found)


def list_under_another_epoch(admin: Redis, layer: RedisChannelLayer, group: str, add: int) -> str:
    """Let the group know the inbox in another life than it has; as after a failover that lost the last writes."""
    [(member, score)] = members(admin, layer, group).items()
    start, _, epoch = member.rpartition(":")
    other = f"{start}:{int(epoch) + add}"
    key = QueueKeys(layer.prefix).group(group)
    admin.zrem(key, member)
    admin.zadd(key, {other: score})
    return other


async def received(layer: RedisChannelLayer, channel: str, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [(await layer.receive(channel))["n"] for _ in range(count)]


@pytest.mark.parametrize("stale", ["room", "hall"])
@pytest.mark.parametrize("add", [-1, 1])
async def test_groups_that_know_an_inbox_in_different_lives_reach_it_once(
    make_queue: MakeQueue, admin: Redis, stale: str, add: int
) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, channel)
    wrong = list_under_another_epoch(admin, layer, stale, add)
    await layer.group_send(["room", "hall"], {"n": 1})
    await layer.send(channel, {"n": 2})
    assert await received(layer, channel, 2) == [1, 2]
    assert layer.statistics().dropped == {}
    await until(lambda: wrong not in members(admin, layer, stale), "who is gone is taken out of the group")
    assert len(members(admin, layer, "hall" if stale == "room" else "room")) == 1


async def test_an_inbox_that_no_group_knows_in_its_present_life_is_counted(make_queue: MakeQueue, admin: Redis) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, channel)
        list_under_another_epoch(admin, layer, group, 1)
    await layer.group_send(["room", "hall"], {"n": 1})
    assert layer.statistics().dropped == {"channel_gone": 1}
    await layer.send(channel, {"n": 2})
    assert await received(layer, channel, 1) == [2]


async def test_an_inbox_gets_one_entry_for_several_groups(make_queue: MakeQueue, admin: Redis) -> None:
    layer, sender = make_queue(), make_queue()
    channels = [await layer.new_channel() for _ in range(3)]
    for group in ("room", "hall", "yard"):
        for channel in channels:
            await layer.group_add(group, channel)
    key = QueueKeys(layer.prefix).inbox(client_of(channels[0])).meta
    before = int(admin.hget(key, "in") or 0)
    await sender.group_send(["room", "hall", "yard"], {"n": 1}, exclude=channels[:1])
    assert int(admin.hget(key, "in") or 0) == before + 1
    for channel in channels[1:]:
        assert await received(layer, channel, 1) == [1]


async def test_what_is_no_member_is_taken_out_of_the_group_where_it_is(
    make_queue: MakeQueue, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, channel)
    admin.zadd(QueueKeys(layer.prefix).group("hall"), {"nonsense": 1e15})
    await layer.group_send(["room", "hall"], {"n": 1})
    assert await received(layer, channel, 1) == [1]
    await until(lambda: len(members(admin, layer, "hall")) == 1)
    assert layer.statistics().dropped == {"undecodable": 1}
    assert "nonsense in group hall is no member: taken out" in caplog.text


@pytest.mark.parametrize("keys", [None, ["a secret of ours"]], ids=["plain", "encrypted"])
async def test_very_many_groups_are_no_matter(make_queue: MakeQueue, keys: list[str] | None) -> None:
    layer = make_queue(symmetric_encryption_keys=keys)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send([*(f"{'x' * 90}{number}" for number in range(1500)), "room"], {"n": 1})
    assert await received(layer, channel, 1) == [1]
