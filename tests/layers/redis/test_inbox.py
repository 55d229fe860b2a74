"""What one event loop holds of a layer: what arrives there, from whomever, and what others ask of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from fast_channels.exceptions import OutcomeUnknown, ServerUnreachable
from fast_channels.layers.redis import RedisPubSubChannelLayer, inbox, requests
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.envelope import pack_addressed, pack_control, pack_direct
from fast_channels.layers.redis.keys import Addresses
from fast_channels.names import client_of
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import MakeLayer
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import until

Layer = RedisPubSubChannelLayer


@pytest.fixture
def raw(redis_server: ServerProcess) -> Iterator["Redis"]:
    """Somebody who publishes whatever they like."""
    with Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def layer(make_layer: MakeLayer) -> Layer:
    return make_layer()


@pytest.fixture
def other(make_layer: MakeLayer, layer: Layer) -> Layer:
    """The same layer in another process."""
    return make_layer()


@pytest.fixture
def addresses(layer: Layer) -> Addresses:
    return Addresses(layer.prefix)


def inbox_address(addresses: Addresses, channel: str) -> bytes:
    return addresses.inbox(client_of(channel))


def dropped(layer: Layer, reason: str) -> int:
    return layer.statistics().dropped.get(reason, 0)


async def members(layer: Layer, group: str) -> list[str]:
    found: dict[str, list[str]] = (await layer.inspect())["groups"]
    return found.get(group, [])


# Several groups: a copy of the message comes for each of them

CHANNELS = "abcdef"
SOME = st.sets(st.sampled_from(CHANNELS))
GROUPS = ["red", "green", "blue", "grey"]


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(GROUPS, SOME)), st.permutations(GROUPS), st.data())
def test_each_member_takes_one_of_the_copies_whatever_their_order(
    joined: dict[str, set[str]], named: list[str], data: st.DataObject
) -> None:
    groups = named[: data.draw(st.integers(1, len(GROUPS)))]
    excluded = frozenset(data.draw(SOME))
    copies = data.draw(st.permutations(groups))

    async def run() -> dict[str, int]:
        layer = Layer(hosts=["redis://localhost:1"])
        here = layer._here()
        for name in CHANNELS:
            here.local.open(name)
        for group, names in joined.items():
            for name in names:
                here.local.join(group, here.local.mailboxes[name])
        message = pack_addressed(Audience(tuple(groups), excluded).packed(), layer.serialize("hello"))
        for group in copies:
            here._group(group, b"", message)
        found = {name: len(here.local.mailboxes[name]) for name in CHANNELS}
        await layer.close()
        return found

    wanted = set().union(*(joined[group] for group in groups)) - excluded
    assert asyncio.run(run()) == {name: int(name in wanted) for name in CHANNELS}


# Whatever arrives

NO_ENVELOPES = {
    "nothing": b"",
    "a name that is cut": b"\x20specific",
    "a name that is no text": b"\x02\xff\xfe\x80",
    "a control entry without content": b"\0",
    "a control entry that is no msgpack": b"\0\xc1",
    "a control entry that is cut": pack_control(msgspec.msgpack.encode(["join", 1, "somebody", "g", "c"]))[:-3],
    "a control entry that is a map": pack_control(msgspec.msgpack.encode({"op": "join"})),
    "a control entry that is a number": pack_control(msgspec.msgpack.encode(7)),
    "a control entry with too few parts": pack_control(msgspec.msgpack.encode(["join"])),
    "a control entry with too many parts": pack_control(msgspec.msgpack.encode(["join", 1, "a", "b", "c", "d"])),
    "a control entry with wrong types": pack_control(msgspec.msgpack.encode(["join", "1", 2, None, []])),
    "a control entry for a group of no name": pack_control(msgspec.msgpack.encode(["join", 1, "a", "bad name", "c"])),
}


@pytest.mark.parametrize("what", NO_ENVELOPES)
async def test_what_is_no_message_is_counted_and_the_inbox_goes_on(
    layer: Layer, addresses: Addresses, raw: "Redis", what: str, caplog: Any
) -> None:
    channel = await layer.new_channel()
    assert raw.publish(inbox_address(addresses, channel), NO_ENVELOPES[what]) == 1
    await layer.send(channel, {"type": "after"})
    assert await layer.receive(channel) == {"type": "after"}
    assert layer.statistics().dropped == {"undecodable": 1}
    assert "is no message" in caplog.text


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode({"type": "x"})[:-1], b"\x93\x01"])
@pytest.mark.parametrize("where", ["channel", "group", "plain"])
async def test_what_is_no_msgpack_is_counted_and_the_receiver_goes_on(
    layer: Layer, addresses: Addresses, raw: "Redis", payload: bytes, where: str
) -> None:
    channel = "plain" if where == "plain" else await layer.new_channel()
    waiting = asyncio.create_task(layer.receive(channel))
    await layer.group_add("room", channel)
    if where == "channel":
        raw.publish(inbox_address(addresses, channel), pack_direct(channel, payload))
    else:
        address = addresses.group("room") if where == "group" else addresses.shared(channel)
        await until(lambda: raw.publish(address, payload) == 1)
    await layer.send(channel, "after")
    assert await waiting == "after"
    assert layer.statistics().dropped == {"undecodable": 1}


async def test_a_flood_of_nonsense_is_a_few_lines_of_the_log(
    layer: Layer, addresses: Addresses, raw: "Redis", caplog: Any
) -> None:
    channel = await layer.new_channel()
    for number in range(1000):
        raw.publish(inbox_address(addresses, channel), b"" if number % 20 else pack_direct(channel, b"\xc1"))
    await layer.send(channel, "after")
    with caplog.at_level(logging.WARNING, "fast_channels"):
        assert await layer.receive(channel) == "after"
    assert dropped(layer, "undecodable") == 1000
    assert 1 <= len(caplog.records) <= 20


async def test_what_is_sent_to_a_channel_that_was_released_is_counted(layer: Layer, other: Layer) -> None:
    channel, stays = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.release_channel(channel)
    await other.send(channel, "late")
    await other.group_send("room", "late")
    await other.send(stays, "after")
    assert await layer.receive(stays) == "after"
    assert layer.statistics().dropped == {"channel_gone": 1}
    assert (await layer.inspect())["channels"] == {}


# Channels of other processes


@both_loops
@pytest.mark.parametrize("keys", [None, ["a secret of both"]])
async def test_a_channel_of_another_process_joins_and_leaves_as_soon_as_the_call_returns(
    make_layer: MakeLayer, keys: list[str] | None
) -> None:
    layer, other = make_layer(symmetric_encryption_keys=keys), make_layer(symmetric_encryption_keys=keys)
    channel = await layer.new_channel()
    for number in range(20):
        await other.group_add("room", channel)
        await other.group_send("room", number)
        assert await layer.receive(channel) == number
        await other.group_discard("room", channel)
        await other.group_send("room", "nobody")
    await other.send(channel, "last")
    assert await layer.receive(channel) == "last"
    assert await members(layer, "room") == []


async def test_many_requests_at_once_are_all_answered(layer: Layer, other: Layer) -> None:
    channels = [await layer.new_channel() for _ in range(50)]
    await asyncio.gather(*(other.group_add(f"room-{number % 7}", channel) for number, channel in enumerate(channels)))
    found = [await members(layer, f"room-{number}") for number in range(7)]
    assert sorted(channel for members in found for channel in members) == sorted(channels)


@pytest.mark.parametrize("op", ["group_add", "group_discard"])
async def test_an_owner_that_nobody_hears_of_is_an_error(layer: Layer, redis_url: str, op: str) -> None:
    """It may be gone, or cut off: to say that it was done would be wrong."""
    channel = await layer.new_channel()
    await layer.close()
    async with Layer([redis_url], prefix=layer.prefix, send_timeout=1) as other:
        with pytest.raises(OutcomeUnknown, match="is its process gone"):
            await getattr(other, op)("room", channel)


async def test_an_owner_that_is_away_for_a_moment_is_asked_again(layer: Layer, other: Layer, redis_url: str) -> None:
    channel = await layer.new_channel()
    with Redis.from_url(redis_url) as admin:
        for _ in range(5):
            await other.group_discard("room", channel)
            admin.client_kill_filter(_type="pubsub")
            await other.group_add("room", channel)
            assert await members(layer, "room") == [channel]


async def test_a_join_that_is_cancelled_takes_nothing_from_another(layer: Layer) -> None:
    channel = await layer.new_channel()
    first = asyncio.create_task(layer.group_add("room", channel))
    second = asyncio.create_task(layer.group_add("room", channel))
    await asyncio.sleep(0)
    first.cancel()
    await second
    await layer.group_send("room", {"type": "heard"})
    assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "heard"}


async def test_a_join_that_fails_takes_back_its_own_membership_alone(proxy: Proxy) -> None:
    async with Layer([proxy.url], prefix="join-that-fails", send_timeout=2) as layer:
        member, late = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("room", member)
        proxy.close()
        await layer.group_add("room", member)  # it is one already
        with pytest.raises(ServerUnreachable):
            await layer.group_add("elsewhere", late)
        proxy.forward()
        await until(lambda: layer.last_gap is not None)
        await layer.group_send("room", {"type": "heard"})
        assert await asyncio.wait_for(layer.receive(member), 10) == {"type": "heard"}
        assert await members(layer, "elsewhere") == []


async def test_listening_that_somebody_cancelled_is_taken_up_again_and_the_gap_reported(layer: Layer) -> None:
    """As programs do that cancel every task there is."""
    channel = await layer.new_channel()
    me = asyncio.current_task()
    mine = [task for task in asyncio.all_tasks() if task is not me and task.get_name().startswith("fast-channels")]
    assert mine
    for task in mine:
        task.cancel()
    await asyncio.wait(mine)
    await layer.new_channel()
    await until(lambda: layer.last_gap is not None)
    await layer.send(channel, {"type": "heard"})
    assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "heard"}


async def test_a_channel_that_its_owner_released_joins_nothing(layer: Layer, other: Layer) -> None:
    channel, stays = await layer.new_channel(), await layer.new_channel()
    await layer.release_channel(channel)
    await other.group_add("room", channel)
    await other.group_add("room", stays)
    assert await members(layer, "room") == [stays]


async def test_an_owner_that_does_not_answer_leaves_the_outcome_unknown(
    make_layer: MakeLayer, addresses: Addresses, raw: "Redis"
) -> None:
    asker = make_layer(send_timeout=1)
    with raw.pubsub() as deaf:  # type: ignore[no-untyped-call]
        deaf.subscribe(addresses.inbox("deaf"))
        assert deaf.get_message(timeout=10)
        with pytest.raises(OutcomeUnknown, match=r"the owner of channel specific\.deaf!1"):
            await asker.group_add("room", "specific.deaf!1")
    assert asker.statistics().dropped == {}


@pytest.fixture
async def kept_out(own_server: ServerProcess) -> AsyncIterator[tuple[Layer, Layer]]:
    """Two layers; the first may not subscribe to groups."""
    with Redis(port=own_server.port) as admin:
        channels = ["asgi|i|*"]
        admin.acl_setuser("narrow", enabled=True, passwords=["+secret"], channels=channels, commands=["+@all"])
    narrow = own_server.url.replace("//", "//narrow:secret@")
    async with Layer([narrow]) as first, Layer([own_server.url], send_timeout=2) as second:
        yield first, second


async def test_an_owner_that_cannot_do_it_says_so_in_its_log(kept_out: tuple[Layer, Layer], caplog: Any) -> None:
    owner, asker = kept_out
    channel = await owner.new_channel()
    with pytest.raises(OutcomeUnknown):
        await asker.group_add("room", channel)
    assert "could not join" in caplog.text
    assert "NOPERM" in caplog.text
    assert await members(owner, "room") == []
    await asker.send(channel, "still here")
    assert await owner.receive(channel) == "still here"


async def test_more_requests_than_can_be_worked_on_are_dropped_and_counted(
    layer: Layer, addresses: Addresses, raw: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ANSWERS", 10)
    channel = await layer.new_channel()
    request = pack_control(msgspec.msgpack.encode(["join", 1, "somebody", "room", channel]))
    with raw.pipeline(transaction=False) as pipeline:
        for _ in range(100):
            pipeline.publish(inbox_address(addresses, channel), request)
        pipeline.execute()
    await layer.send(channel, "after")
    assert await layer.receive(channel) == "after"
    assert 1 <= dropped(layer, "inbox_full") <= 90
    assert await members(layer, "room") == [channel]


async def test_a_forged_answer_to_a_request_that_nobody_made_is_ignored(
    layer: Layer, addresses: Addresses, raw: "Redis"
) -> None:
    channel = await layer.new_channel()
    raw.publish(inbox_address(addresses, channel), pack_control(msgspec.msgpack.encode(["done", 99, "somebody"])))
    await layer.send(channel, "after")
    assert await layer.receive(channel) == "after"
    assert layer.statistics().dropped == {}


@both_loops
async def test_calls_that_are_cancelled_leave_nothing_behind(
    make_layer: MakeLayer, proxy: Proxy, addresses: Addresses
) -> None:
    """At every turn of the loop between the call and its end, with and without a server."""
    layer, other = make_layer(hosts=[proxy.url]), make_layer()
    channel, foreign = await layer.new_channel(), await other.new_channel()
    here = layer._here()
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        layer.new_channel,
        partial(layer.group_add, "cancelled", channel),
        partial(layer.group_add, "cancelled", foreign),
        partial(layer.send, channel, "x"),
        partial(layer.group_send, "cancelled", "x"),
        partial(layer.receive, "cancelled"),
    ]
    for away in (False, True):
        proxy.close() if away else proxy.forward()
        for call in calls:
            for turns in range(8):
                task = asyncio.create_task(call())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                result = (await asyncio.gather(task, return_exceptions=True))[0]
                if isinstance(result, str) and result.startswith("specific."):
                    await layer.release_channel(result)
        await layer.group_discard("cancelled", channel)
        await layer.release_channel("cancelled")
    proxy.forward()
    await other.group_discard("cancelled", foreign)
    assert list(here.local.mailboxes) == [channel]
    assert here.local.groups == {}
    assert repr(here._requests).endswith(": 0 asked, 0 being answered>")
    await layer.group_add("cancelled", channel)
    await layer.group_send("cancelled", "last")
    while await layer.receive(channel) != "last":
        pass


# Ways out


async def test_the_ways_that_are_remembered_are_bounded(
    layer: Layer, other: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "OUTLETS", 5)
    channels = [await layer.new_channel() for _ in range(12)]
    for channel in channels * 2:
        await other.send(channel, channel)
        await layer.group_add(channel[-8:], channel)
        await other.group_send(channel[-8:], channel)
        assert [await layer.receive(channel), await layer.receive(channel)] == [channel] * 2
    held = other._here()
    assert len(held._outlets) <= 5
    assert len(held._group_outlets) <= 5
