"""Hostile payloads, found by machine: whatever is written to the server, the reader goes on, and counts."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.envelope import Control, pack_addressed, pack_control, pack_direct
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.names import client_of
from fast_channels.serializers import BaseMessageSerializer
from fast_channels.testing.contract.harness import listen
from tests.security.conftest import MakePubSub, MakeQueue
from tests.security.fuzz import KEY, ORIGINAL, OTHER, Mutation, Seal, batches, forgeries, rough, sealer
from tests.security.garbage import put
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("nothing_fails")

Layer = RedisChannelLayer | RedisPubSubChannelLayer

fuzzed = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def encrypted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def options(*, encrypted: bool) -> dict[str, Any]:
    return {"symmetric_encryption_keys": [KEY] if encrypted else None, "capacity": 100_000}


@pytest.fixture
def pubsub(make_pubsub: MakePubSub, encrypted: bool) -> RedisPubSubChannelLayer:
    """One for all examples of a test."""
    return make_pubsub(**options(encrypted=encrypted))


@pytest.fixture
def queue(make_queue: MakeQueue, encrypted: bool) -> RedisChannelLayer:
    return make_queue(**options(encrypted=encrypted), random_prefix_length=0)


class Place(NamedTuple):
    """Where a payload can be written: what it must be sealed for, how it gets there, and who would hear it."""

    context: bytes
    write: Callable[[bytes], Any]
    channel: str
    send: Callable[[Any], Any]


async def of_pubsub(layer: RedisPubSubChannelLayer, admin: Any) -> list[Place]:
    addresses, channel = Addresses(layer.prefix), await layer.new_channel()
    await layer.group_add("room", channel)
    await listen(layer, layer, "jobs")
    inbox, room, jobs = addresses.inbox(client_of(channel)), addresses.group("room"), addresses.shared("jobs")

    def to_channel(payload: bytes) -> None:
        admin.publish(inbox, pack_direct(channel, payload))

    return [
        Place(channel.encode(), to_channel, channel, lambda message: layer.send(channel, message)),
        Place(room, lambda payload: admin.publish(room, payload), channel, lambda m: layer.group_send("room", m)),
        Place(jobs, lambda payload: admin.publish(jobs, payload), "jobs", lambda m: layer.send("jobs", m)),
    ]


async def of_queue(layer: RedisChannelLayer, admin: Any) -> list[Place]:
    keys, channel = QueueKeys(layer.prefix), await layer.new_channel()
    await layer.group_add("room", channel)
    stream = keys.inbox(client_of(channel)).stream

    def to_channel(payload: bytes) -> None:
        admin.xadd(stream, {f"d60000|{channel}": payload})

    def to_group(payload: bytes) -> None:
        admin.xadd(stream, {"g60000|room": payload})

    return [
        Place(keys.channel_context(channel), to_channel, channel, lambda message: layer.send(channel, message)),
        Place(keys.group("room"), to_group, channel, lambda message: layer.group_send("room", message)),
        Place(
            keys.channel_context("jobs"),
            lambda payload: put(admin, keys, "jobs", payload),
            "jobs",
            lambda message: layer.send("jobs", message),
        ),
    ]


def undecodable(layer: Layer) -> int:
    return layer.statistics().dropped.get("undecodable", 0)


MARK = {"type": "after"}


async def heard_until(layer: Layer, channel: str, mark: dict[str, Any]) -> list[Any]:
    """What is heard before `mark`."""
    heard = []
    async with asyncio.timeout(PATIENCE):
        while (message := await layer.receive(channel)) != mark:
            heard.append(message)
    return heard


async def survive(layer: Layer, place: Place, seal: Seal, batch: Sequence[Mutation]) -> list[Any]:
    """Write the batch, then a good message, which arrives; everything before was heard or counted."""
    before = undecodable(layer)
    for mutate in batch:
        place.write(mutate(seal))
    await place.send(MARK)
    heard = await heard_until(layer, place.channel, MARK)
    assert len(heard) + undecodable(layer) - before == len(batch)
    return heard


# Payloads


@fuzzed
@given(data=st.data())
async def test_pubsub_hears_or_counts_whatever_is_published(
    pubsub: RedisPubSubChannelLayer, admin: Any, encrypted: bool, data: st.DataObject
) -> None:
    for place in await of_pubsub(pubsub, admin):
        await survive(pubsub, place, sealer(encrypted=encrypted)(place.context), data.draw(batches))


@fuzzed
@given(data=st.data())
async def test_the_queue_hears_or_sets_aside_whatever_is_written(
    queue: RedisChannelLayer, admin: Any, encrypted: bool, data: st.DataObject
) -> None:
    for place in await of_queue(queue, admin):
        before = undecodable(queue), queue.statistics().dead_lettered
        heard = await survive(queue, place, sealer(encrypted=encrypted)(place.context), data.draw(batches))
        assert all(type(message) is dict for message in heard)
        if place.channel == "jobs":
            set_aside = undecodable(queue) - before[0]
            await until(lambda: queue.statistics().dead_lettered - before[1] == set_aside)  # noqa: B023
            letters = await queue.dead_letters.list("jobs")
            assert [letter.reason for letter in letters] == ["undecodable"] * set_aside
            await queue.dead_letters.drop("jobs")


async def places_of(layer: Layer, admin: Any) -> list[Place]:
    return await (of_queue(layer, admin) if isinstance(layer, RedisChannelLayer) else of_pubsub(layer, admin))


@pytest.fixture(params=["pubsub", "queue"])
def make_sealed(request: pytest.FixtureRequest, make_pubsub: MakePubSub, make_queue: MakeQueue) -> Callable[[], Layer]:
    """Makes a layer that encrypts."""
    if request.param == "pubsub":
        return lambda: make_pubsub(**options(encrypted=True))
    return lambda: make_queue(**options(encrypted=True), random_prefix_length=0)


@pytest.fixture
def sealed(make_sealed: Callable[[], Layer]) -> Layer:
    return make_sealed()


@fuzzed
@given(each=st.tuples(*[st.lists(forgeries, min_size=1, max_size=12)] * 3))
async def test_what_is_heard_was_sealed_for_that_place_by_who_has_the_key(
    sealed: Layer, admin: Any, each: tuple[list[Mutation], ...]
) -> None:
    """Of a sealed message, a changed one is none, or the same: some bits of its text mean nothing."""
    for place, batch in zip(await places_of(sealed, admin), each, strict=True):
        for message in await survive(sealed, place, sealer(encrypted=True)(place.context), batch):
            assert message in (ORIGINAL, OTHER)


async def test_what_was_sealed_for_another_place_or_under_another_key_is_never_heard(sealed: Layer, admin: Any) -> None:
    for place in await places_of(sealed, admin):
        batch = [Seal.elsewhere, Seal.by_another] * 3
        assert await survive(sealed, place, sealer(encrypted=True)(place.context), batch) == []


async def test_twin_without_a_look_at_the_place_it_is_heard(
    sealed: Layer, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(data: bytes, context: bytes) -> bytes:
        return data[2 + int.from_bytes(data[:2]) :]

    monkeypatch.setattr(BaseMessageSerializer, "_opened", staticmethod(opened))
    for place in await places_of(sealed, admin):
        seal = sealer(encrypted=True)(place.context)
        assert await survive(sealed, place, seal, [Seal.elsewhere, Seal.by_another]) == [ORIGINAL]


async def test_twin_a_reader_that_minds_stops_at_the_first(
    make_sealed: Callable[[], Layer], admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def minds(self: RedisLayer[Any], payload: bytes, context: bytes) -> Any:
        return self._serializer.deserialize(payload, context)

    monkeypatch.setattr(RedisLayer, "_decoded", minds)
    sealed = make_sealed()
    [place, *_] = await places_of(sealed, admin)
    with pytest.raises(ValueError, match="encrypted for another address"):
        await survive(sealed, place, sealer(encrypted=True)(place.context), [Seal.elsewhere])


# What is around them


def is_flush(head: bytes, payload: bytes) -> bool:
    """Whether it may mean that the layer was emptied: who can write can do that."""
    return head[:1] == b"f" and payload.strip().removeprefix(b"-").isdigit()


@fuzzed
@given(data=st.data())
async def test_the_queue_passes_over_heads_that_are_nearly_right(
    queue: RedisChannelLayer, admin: Any, encrypted: bool, data: st.DataObject
) -> None:
    keys, channel = QueueKeys(queue.prefix), await queue.new_channel()
    await queue.group_add("room", channel)
    client, before = client_of(channel), undecodable(queue)
    seal = sealer(encrypted=encrypted)
    control = [*Control("join", 7, client, "other-room", channel)]
    audience = Audience(("room", "other-room"), frozenset({"specific.x!y"})).packed()
    payloads = [seal(keys.channel_context(channel)).good(), seal(keys.control_context(client)).good(control), b"5"]
    heads = [f"d60000|{channel}", "g60000|room", f"m60000|{audience}", "k0|", "f0|", "-"]
    written = data.draw(st.lists(st.tuples(rough([head.encode() for head in heads]), rough(payloads)), max_size=12))
    written = [pair for pair in written if not is_flush(*pair)]
    for head, payload in written:
        admin.xadd(keys.inbox(client).stream, {head: payload})
    await queue.send(channel, MARK)
    await heard_until(queue, channel, MARK)
    assert undecodable(queue) - before <= len(written)
    await queue.release_channel(channel)


@fuzzed
@given(data=st.data())
async def test_pubsub_passes_over_envelopes_that_are_nearly_right(
    pubsub: RedisPubSubChannelLayer, admin: Any, encrypted: bool, data: st.DataObject
) -> None:
    addresses, channel = Addresses(pubsub.prefix), await pubsub.new_channel()
    await pubsub.group_add("room", channel)
    client, before = client_of(channel), undecodable(pubsub)
    inbox, room, seal = addresses.inbox(client), addresses.group("room"), sealer(encrypted=encrypted)
    control = [*Control("join", 7, client, "other-room", channel)]
    audience = Audience(("room", "other-room"), frozenset({"specific.x!y"})).packed()
    to_inbox = [pack_direct(channel, seal(channel.encode()).good()), pack_control(seal(inbox).good(control))]
    to_room = [pack_addressed(audience, seal(addresses.audience_context(audience)).good())]
    written = [(inbox, envelope) for envelope in data.draw(st.lists(rough(to_inbox), max_size=12))]
    written += [(room, envelope) for envelope in data.draw(st.lists(rough(to_room), max_size=12))]
    for address, envelope in written:
        admin.publish(address, envelope)
    for send in (pubsub.group_send("room", MARK), pubsub.send(channel, MARK)):
        await send
        await heard_until(pubsub, channel, MARK)
    assert undecodable(pubsub) - before <= len(written)
    await pubsub.release_channel(channel)
