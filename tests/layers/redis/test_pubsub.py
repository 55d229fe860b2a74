"""The pub/sub layer between processes: what arrives where, and what is dropped.

What every layer promises is in the contract suite; outages are in test_pubsub_outages.py, loops, threads and processes
in test_pubsub_loops.py.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, get_args

import msgspec
import pytest
from redis import Redis

from fast_channels.exceptions import InvalidNameError, MailboxOverflow
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.envelope import MARK, pack_addressed, pack_direct
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.topology import shard_of
from fast_channels.names import client_of
from fast_channels.serializers import BaseMessageSerializer, registry
from fast_channels.testing.server import ServerProcess
from fast_channels.type_defs import OverflowPolicy
from tests.layers.redis.conftest import MakeLayer, receiving
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import until

Layer = RedisPubSubChannelLayer

OLD, NEW = "the old secret of ours", "the new secret of ours"


def dropped(layer: Layer, reason: str) -> int:
    return layer.statistics().dropped.get(reason, 0)


# Who is meant


async def test_a_name_is_never_taken_for_a_group_nor_for_another_layers(make_layer: MakeLayer) -> None:
    layer, longer = make_layer(), make_layer(prefix="asgi2")
    shorter = make_layer(prefix="asgi")
    tasks = {name: await receiving(longer, name) for name in ("x", "2x", "admins")}
    channel = await longer.new_channel()
    await longer.group_add("admins", channel)
    for sender in (layer, shorter):
        for name in ("2x", "x", "admins", "asgi__group__admins", "g", "asgi2"):
            await sender.send(name, "wrong")
            await sender.group_send(name, "wrong")
    await longer.send("g", "wrong")
    await longer.group_send("x", "wrong")
    await longer.group_send("admins", "right")
    assert await longer.receive(channel) == "right"
    for name, task in tasks.items():
        await longer.send(name, name)
        assert await task == name
    for name in ("g|admins", "asgi2|g|admins", "c|x"):
        with pytest.raises(InvalidNameError):
            await shorter.send(name, "wrong")


async def test_a_message_for_nobody_is_counted(make_layer: MakeLayer) -> None:
    layer = make_layer()
    await layer.send("nobody-hears-this", "x")
    await layer.send(f"specific.{layer.client_prefix}!gone", "x")
    assert layer.statistics().dropped == {"no_receiver": 2}
    assert layer.statistics().sent == 2


async def test_everything_lies_behind_the_prefix(own_server: ServerProcess) -> None:
    """So that one pattern is the whole ACL of a layer."""
    with Redis(port=own_server.port) as admin:
        commands = ["-@all", "+@connection", "+@pubsub"]
        admin.acl_setuser(
            "app", enabled=True, passwords=["+secret"], channels=["asgi|*"], commands=commands, reset_keys=True
        )
    url = own_server.url.replace("//", "//app:secret@")
    async with Layer([url]) as layer, Layer([url]) as other:
        channel = await layer.new_channel()
        await other.group_add("room", channel)
        await other.group_send("room", 1)
        await other.send(channel, 2)
        assert [await layer.receive(channel) for _ in range(2)] == [1, 2]
        plain = await receiving(layer, "plain")
        await other.send("plain", 3)
        assert await plain == 3
        await other.flush()


# Several groups, and who is left out


async def test_a_message_to_one_group_is_nothing_but_the_message(make_layer: MakeLayer, admin: Redis) -> None:
    layer = make_layer()
    with Redis(port=admin.get_connection_kwargs()["port"]) as eavesdropper, eavesdropper.pubsub() as pubsub:
        pubsub.psubscribe(Addresses(layer.prefix).everything())
        assert pubsub.get_message(timeout=10)
        several: list[dict[str, Any]] = [{}, {"exclude": []}, {"expiry": 5}]
        for options in several:
            await layer.group_send("room", {"type": "hello"}, **options)
            assert pubsub.get_message(timeout=10)["data"] == layer.serialize({"type": "hello"})


class Starting(BaseMessageSerializer):
    """A format whose messages begin with what marks an audience."""

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        return MARK + msgspec.msgpack.encode(message)

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return msgspec.msgpack.decode(message.removeprefix(MARK))


async def test_any_format_reaches_groups(make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registry, "starting", Starting)
    layer = make_layer(serializer_format="starting")
    channel, other = await layer.new_channel(), await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, channel)
    await layer.group_add("room", other)
    await layer.group_send("room", 1)
    await layer.group_send(["room", "hall"], 2)
    await layer.group_send("room", 3, exclude=[other])
    await layer.send(channel, 4)
    assert [await layer.receive(channel) for _ in range(4)] == [1, 2, 3, 4]
    assert [await layer.receive(other) for _ in range(2)] == [1, 2]
    assert layer.statistics().dropped == {}


async def test_who_is_about_to_join_another_group_misses_nothing(make_layer: MakeLayer, proxy: Proxy) -> None:
    """As long as the server does not know, the copy for that group does not come here."""
    layer, sender = make_layer(hosts=[proxy.url]), make_layer()
    channel = await layer.new_channel()
    await layer.group_add("hall", channel)
    proxy.mute(b"|g|room")
    joining = asyncio.create_task(layer.group_add("room", channel))
    await until(lambda: "room" in layer._here().local.groups)
    await sender.group_send(["room", "hall"], 1)
    assert await asyncio.wait_for(layer.receive(channel), 10) == 1
    proxy.forward()
    await joining
    await sender.group_send(["room", "hall"], 2)
    assert await asyncio.wait_for(layer.receive(channel), 10) == 2
    assert layer.statistics().dropped == {}


# Several servers


@pytest.fixture
def shards(redis_server: ServerProcess) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ServerProcess(binary=redis_server.binary)) for _ in range(3)]


@both_loops
async def test_senders_and_receivers_agree_on_the_server_of_every_name(shards: list[ServerProcess]) -> None:
    hosts = [server.url for server in shards]
    async with Layer(hosts) as layer, Layer(hosts) as other:
        receivers = [Layer(hosts) for _ in range(12)]
        for number, receiver in enumerate(receivers):
            channel = await receiver.new_channel()
            await other.group_add(f"room-{number}", channel)
            await layer.send(channel, "direct")
            await layer.group_send(f"room-{number}", "group")
            assert {await receiver.receive(channel) for _ in range(2)} == {"direct", "group"}
        for number in range(12):
            waiting = await receiving(receivers[0], f"plain-{number}")
            await other.send(f"plain-{number}", number)
            assert await waiting == number
        for server in shards:
            with Redis(port=server.port) as admin:
                assert admin.info("commandstats")["cmdstat_publish"]["calls"] > 0, "a server without a share"
        for receiver in receivers:
            await receiver.close()


async def test_a_server_that_is_away_does_not_delay_the_others(shards: list[ServerProcess]) -> None:
    hosts = [server.url for server in shards]
    addresses = Addresses("asgi")
    async with Layer(hosts) as layer, Layer(hosts) as other:
        channel = await layer.new_channel()
        home = shard_of(addresses.inbox(client_of(channel)), 3)
        groups = [f"room-{number}" for number in range(50)]
        near = [group for group in groups if shard_of(addresses.group(group), 3) == home]
        far = next(group for group in groups if shard_of(addresses.group(group), 3) != home)
        for group in near:
            await layer.group_add(group, channel)
        await other.group_send(far, "opens the connection")
        shards[shard_of(addresses.group(far), 3)].pause()
        stuck = asyncio.create_task(other.group_send(far, "stuck"))
        async with asyncio.timeout(4):  # the stopped one is found after 5
            for group in near:
                await other.group_send(group, group)
                assert await layer.receive(channel) == group
        assert not stuck.done()
        shards[shard_of(addresses.group(far), 3)].resume()
        await stuck


# Capacity


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_newest", list(range(10))), ("drop_oldest", list(range(90, 100))), ("close", None)]
)
@pytest.mark.parametrize("how", ["send", "group_send"])
async def test_what_a_full_channel_does_is_counted_exactly_and_its_neighbour_is_spared(
    make_layer: MakeLayer, policy: OverflowPolicy, kept: list[int] | None, how: str, caplog: Any
) -> None:
    layer, other = make_layer(channel_capacity={"small.*": 10}, overflow=policy), make_layer()
    small, large = await layer.new_channel("small"), await layer.new_channel("large")
    for channel in (small, large):
        await layer.group_add("room", channel)
    with caplog.at_level(logging.INFO, "fast_channels.layers"):
        for number in range(100):
            if how == "send":
                await other.send(small, number)
                await other.send(large, number)
            else:
                await other.group_send("room", number)
        assert [await layer.receive(large) for _ in range(100)] == list(range(100))
    if kept is None:
        with pytest.raises(MailboxOverflow):
            await layer.receive(small)
        assert dropped(layer, "over_capacity") == 100
    else:
        assert [await layer.receive(small) for _ in range(10)] == kept
        assert dropped(layer, "over_capacity") == 90
    assert [record for record in caplog.messages if "over capacity" in record] == [
        f"channel {small} over capacity: {policy}" if how == "send" else "1 of 2 channels over capacity in group room"
    ]


def test_every_policy_is_tried() -> None:
    assert set(get_args(OverflowPolicy)) == {"drop_newest", "drop_oldest", "close"}


@pytest.mark.parametrize("how", ["send", "group_send"])
async def test_an_overload_is_one_line_of_the_log_as_long_as_it_lasts(
    make_layer: MakeLayer, how: str, caplog: Any
) -> None:
    """A consumer that is too slow takes one message now and then, and finds its mailbox full again."""
    layer, other = make_layer(capacity=10), make_layer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)

    async def send(count: int) -> None:
        for number in range(count):
            await (other.send(channel, number) if how == "send" else other.group_send("room", number))

    with caplog.at_level(logging.INFO, "fast_channels.layers"):
        await send(20)
        for _ in range(50):
            await layer.receive(channel)
            await send(3)
        assert len([line for line in caplog.messages if "over capacity" in line]) == 1
        for _ in range(10):  # the end of the episode, and the beginning of the next one
            await layer.receive(channel)
        await send(30)
        assert len([line for line in caplog.messages if "over capacity" in line]) == 2


# Encryption


async def test_keys_are_changed_without_losing_anybody(make_layer: MakeLayer) -> None:
    old, both, new = [make_layer(symmetric_encryption_keys=keys) for keys in ([OLD], [NEW, OLD], [NEW])]
    channel, plain = await both.new_channel(), await receiving(both, "plain")
    await both.group_add("room", channel)
    for sender in (old, both, new):
        await sender.send(channel, "direct")
        await sender.group_send("room", "group")
        assert [await both.receive(channel) for _ in range(2)] == ["direct", "group"]
    await new.send("plain", "x")
    assert await plain == "x"
    unchanged = await new.new_channel()
    await both.send(unchanged, "in the new key")
    assert await new.receive(unchanged) == "in the new key"


async def test_who_has_other_keys_or_none_is_not_understood(make_layer: MakeLayer, caplog: Any) -> None:
    layer = make_layer(symmetric_encryption_keys=[OLD])
    channel = await layer.new_channel()
    for stranger in (make_layer(symmetric_encryption_keys=[NEW]), make_layer()):
        await stranger.send(channel, {"type": "forged"})
    await layer.send(channel, "after")
    assert await layer.receive(channel) == "after"
    assert layer.statistics().dropped == {"undecodable": 2}
    assert "has its sender other keys?" in caplog.text


async def test_what_was_said_to_one_cannot_be_replayed_to_another(make_layer: MakeLayer, admin: Redis) -> None:
    layer = make_layer(symmetric_encryption_keys=[OLD])
    addresses = Addresses(layer.prefix)
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", second)
    captured: dict[bytes, bytes] = {}
    with Redis(port=admin.get_connection_kwargs()["port"]) as eavesdropper:
        pubsub = eavesdropper.pubsub()
        pubsub.psubscribe(addresses.everything())
        assert pubsub.get_message(timeout=10)
        await layer.send(first, "for the first")
        await layer.group_send("other-room", "for another room")
        for _ in range(2):
            message = pubsub.get_message(timeout=10)
            captured[message["channel"]] = message["data"]
        pubsub.close()
        sealed = captured[addresses.inbox(client_of(first))][1 + len(first) :]
        assert b"first" not in sealed
        eavesdropper.publish(addresses.inbox(client_of(first)), pack_direct(second, sealed))
        eavesdropper.publish(addresses.group("room"), sealed)
        eavesdropper.publish(addresses.group("room"), captured[addresses.group("other-room")])
    await layer.send(second, "after")
    assert await layer.receive(second) == "after"
    assert await layer.receive(first) == "for the first"
    assert dropped(layer, "undecodable") == 3


async def test_what_was_said_to_some_cannot_be_replayed_to_others(make_layer: MakeLayer, admin: Redis) -> None:
    """Neither to another group, nor to who was excluded, nor as a message to the whole group."""
    layer = make_layer(symmetric_encryption_keys=[OLD])
    addresses = Addresses(layer.prefix)
    member, excluded = await layer.new_channel(), await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, member)
        await layer.group_add(group, excluded)
    with Redis(port=admin.get_connection_kwargs()["port"]) as eavesdropper, eavesdropper.pubsub() as pubsub:
        pubsub.subscribe(addresses.group("room"))
        assert pubsub.get_message(timeout=10)
        await layer.group_send("room", "hello", exclude=[excluded])
        data = pubsub.get_message(timeout=10)["data"]
        sealed = data.partition(b"\0")[2]
        eavesdropper.publish(addresses.group("hall"), data)
        for audience in ("room|", "room,hall|", f"hall,room|{excluded}", f"hall|{excluded}"):
            eavesdropper.publish(addresses.group("hall"), pack_addressed(audience, sealed))
        eavesdropper.publish(addresses.group("room"), pack_addressed("room|", sealed))
        eavesdropper.publish(addresses.group("room"), sealed)
    assert await layer.receive(member) == "hello"
    for channel in (member, excluded):
        await layer.send(channel, "after")
        assert await layer.receive(channel) == "after"


# What is left behind


async def test_a_released_channel_leaves_nothing_here_and_nothing_on_the_server(
    make_layer: MakeLayer, admin: Redis
) -> None:
    layer = make_layer()
    stays = await layer.new_channel()
    await layer.group_add("shared-room", stays)
    for _ in range(50):
        channel = await layer.new_channel()
        await layer.group_add("shared-room", channel)
        await layer.group_add(f"room-{channel[-8:]}", channel)
        await layer.send(channel, "queued")
        await layer.release_channel(channel)
        await layer.release_channel(channel)
    (await receiving(layer, "plain")).cancel()
    await layer.release_channel("plain")
    addresses = Addresses(layer.prefix)
    expected = {addresses.inbox(client_of(stays)).decode(), addresses.group("shared-room").decode()}
    await until(lambda: set(admin.pubsub_channels(addresses.everything())) == expected)
    assert repr(layer._here().local) == "<LocalChannels: 1 channels, 1 groups>"
    assert (await layer.inspect())["groups"] == {"shared-room": [stays]}


async def test_who_is_busy_while_somebody_flushes_hears_afterwards(make_layer: MakeLayer) -> None:
    layer = make_layer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    reader, mailbox = layer.reader(channel), layer._here().local.mailboxes[channel]
    await layer.send(channel, "flushed")
    await until(lambda: len(mailbox))
    await layer.flush()
    await layer.group_send("room", "nobody is a member any more")
    await layer.send(channel, "after")
    await until(lambda: len(mailbox))
    assert reader.take() == "after"
