"""Pub/sub on a server where somebody else publishes: what is no message is counted, the rest goes on."""

import asyncio
import random
from typing import Any

import pytest

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.envelope import MARK, pack_control, pack_direct
from fast_channels.layers.redis.keys import Addresses
from fast_channels.names import client_of
from fast_channels.testing.contract.harness import listen
from tests.security.conftest import MakePubSub
from tests.security.garbage import AUDIENCES, NO_MAPS, NO_MESSAGES, SEED, WORDS, heads
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("nothing_fails")


def undecodable(layer: RedisPubSubChannelLayer) -> int:
    return layer.statistics().dropped.get("undecodable", 0)


async def next_of(layer: RedisPubSubChannelLayer, channel: str) -> Any:
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


@pytest.mark.parametrize("keys", [None, ["a secret of ours"]], ids=["plain", "encrypted"])
async def test_what_is_no_message_is_passed_over_wherever_it_is_published(
    make_pubsub: MakePubSub, admin: Any, keys: list[str] | None
) -> None:
    layer = make_pubsub(symmetric_encryption_keys=keys, capacity=1000)
    addresses = Addresses(layer.prefix)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await listen(layer, layer, "jobs")
    bad = NO_MESSAGES if keys is None else [*NO_MESSAGES, *NO_MAPS]
    inbox = addresses.inbox(client_of(channel))
    for payload in bad:
        for address in (addresses.group("room"), addresses.shared("jobs")):
            assert admin.publish(address, payload) == 1
        assert admin.publish(inbox, pack_direct(channel, payload)) == 1
        assert admin.publish(inbox, pack_control(payload)) == 1
    await layer.send(channel, {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    await layer.send("jobs", {"type": "after"})
    assert await next_of(layer, "jobs") == {"type": "after"}
    await layer.group_send("room", {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    assert undecodable(layer) == 4 * len(bad)


async def test_noise_in_an_inbox_is_passed_over(make_pubsub: MakePubSub, admin: Any) -> None:
    layer = make_pubsub(capacity=10_000)
    channel = await layer.new_channel()
    inbox = Addresses(layer.prefix).inbox(client_of(channel))
    chance = random.Random(SEED)
    noise = [*WORDS, *heads(), *(chance.randbytes(chance.randrange(200)) for _ in range(500))]
    for data in noise:
        admin.publish(inbox, data)
    await layer.send(channel, {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    dropped = layer.statistics().dropped
    assert dropped["undecodable"] + dropped.get("channel_gone", 0) == len(noise)


@pytest.mark.parametrize("keys", [None, ["a secret of ours"]], ids=["plain", "encrypted"])
async def test_an_audience_that_means_nothing_is_passed_over(
    make_pubsub: MakePubSub, admin: Any, keys: list[str] | None
) -> None:
    layer = make_pubsub(symmetric_encryption_keys=keys, capacity=10_000)
    channel = await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, channel)
    chance = random.Random(SEED)
    noise = [audience + end for audience in AUDIENCES for end in (b"", b"\0", b"\0\xc1", b"\0\xc1|\0")]
    noise += [chance.randbytes(chance.randrange(200)) for _ in range(300)]
    for data in noise:
        admin.publish(Addresses(layer.prefix).group("room"), MARK + data)
    await layer.group_send(["room", "hall"], {"type": "after"})
    assert await next_of(layer, channel) == {"type": "after"}
    assert undecodable(layer) == len(noise)


async def test_who_subscribes_to_an_unreadable_address_breaks_no_look(make_pubsub: MakePubSub, admin: Any) -> None:
    layer = make_pubsub()
    await layer.new_channel()
    with admin.pubsub() as somebody:
        somebody.subscribe(layer.prefix.encode() + b"|\xff\xfe")
        assert somebody.get_message(timeout=PATIENCE)
        [server] = (await layer.inspect())["servers"]
        assert len(server["subscribers"]) == 2


async def test_a_flood_is_a_few_lines_of_the_log(
    make_pubsub: MakePubSub, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make_pubsub()
    channel = await layer.new_channel()
    inbox = Addresses(layer.prefix).inbox(client_of(channel))
    for _ in range(1000):
        admin.publish(inbox, b"\xff" * 1000)
    await until(lambda: undecodable(layer) == 1000)
    assert len([line for line in caplog.messages if "is no message" in line]) == 10
