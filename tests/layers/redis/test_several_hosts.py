"""Several servers share a layer: what happens to one is no matter for the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from fast_channels.exceptions import NotAllSent, OutcomeUnknown, ServerUnreachable
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.outbox import Outbox
from fast_channels.layers.redis.topology import shard_of
from fast_channels.testing.server import ServerProcess
from tests.support.waiting import PATIENCE

QUEUE, PUBSUB = RedisChannelLayer, RedisPubSubChannelLayer

LIVING, DEAD = 0, 1

UNSENT = (ServerUnreachable, OutcomeUnknown)

MESSAGE = {"type": "job"}

LITTLE = Patience(send=1.0, ping_every=0.2, answer=0.5)

MUCH = {"send": 60.0, "ping_every": 60.0, "answer": 60.0}
"""More than any test waits for what must not wait."""

both_layers = pytest.mark.parametrize("kind", [QUEUE, PUBSUB])

each_death = pytest.mark.parametrize("die", [ServerProcess.kill, ServerProcess.pause], ids=["killed", "stopped"])


@pytest.fixture
def dead(own_server: ServerProcess) -> ServerProcess:
    """The second of two servers, which lives until the test says otherwise."""
    return own_server


Make = Callable[..., Any]


@pytest.fixture
async def make(redis_url: str, dead: ServerProcess) -> AsyncIterator[Make]:
    """Makes layers on both whose own channels are at the place that is asked for."""
    async with AsyncExitStack() as stack:

        async def make(kind: Any, place: int = LIVING, **patience: Any) -> Any:
            while True:
                layer = kind(hosts=[redis_url, dead.url], prefix="several")
                if place_of("i", layer.client_prefix, kind) == place:
                    stack.push_async_callback(layer.close)
                    layer._wiring = replace(layer._wiring, patience=replace(LITTLE, **patience))
                    return layer

        yield make


def place_of(what: str, name: str, kind: type[BaseChannelLayer]) -> int:
    """Where an inbox, a group or a shared channel is."""
    if kind is QUEUE:
        keys = QueueKeys("several")
        address = {"i": keys.inbox(name).meta, "g": keys.group(name), "c": keys.shared(name).ready}[what]
    else:
        addresses = Addresses("several")
        address = {"i": addresses.inbox, "g": addresses.group, "c": addresses.shared}[what](name)
    return shard_of(address, 2)


def name_at(place: int, what: str, kind: type[BaseChannelLayer]) -> str:
    """A name of a group (`g`) or a shared channel (`c`) at a place."""
    return next(name for name in (f"name-{number}" for number in range(100)) if place_of(what, name, kind) == place)


async def seconds_of(doing: Any) -> float:
    began = time.monotonic()
    await doing
    return time.monotonic() - began


async def fails(sending: Any) -> None:
    with pytest.raises(UNSENT):
        await sending


async def cancelled(*sending: "asyncio.Future[None]") -> None:
    for each in sending:
        each.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


@both_layers
@each_death
async def test_what_lives_elsewhere_goes_on_at_full_speed(
    make: Make, dead: ServerProcess, kind: Any, die: Callable[[ServerProcess], None]
) -> None:
    layer = await make(kind, **MUCH)
    channel, group = await layer.new_channel(), name_at(LIVING, "g", kind)
    await layer.group_add(group, channel)
    unsent = name_at(DEAD, "c", kind)
    await layer.send(unsent, MESSAGE)
    die(dead)
    failing = [asyncio.ensure_future(layer.send(unsent, MESSAGE)) for _ in range(10)]

    async with asyncio.timeout(PATIENCE):
        for _ in range(50):
            await layer.send(channel, MESSAGE)
            await layer.group_send(group, MESSAGE)
            for _ in range(2):
                assert await layer.receive(channel) == MESSAGE
    await cancelled(*failing)


@both_layers
async def test_a_server_that_is_back_is_used_again(make: Make, dead: ServerProcess, kind: Any) -> None:
    layer = await make(kind)
    shared = name_at(DEAD, "c", kind)
    dead.kill()
    await fails(layer.send(shared, MESSAGE))
    dead.start()
    await until_sent(layer, shared)


async def until_sent(layer: BaseChannelLayer, channel: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return await layer.send(channel, MESSAGE)
        except UNSENT:
            continue
    raise AssertionError("it was not accepted any more")


# A group with members here and there


async def members_here_and_there(make: Make, **patience: Any) -> tuple[Any, str, list[tuple[Any, str]]]:
    """A sender, and a group on the living server with members on the dead one (first) and on the living one."""
    sender = await make(QUEUE, **patience)
    group = name_at(LIVING, "g", QUEUE)
    members = []
    for place in (DEAD, LIVING):
        layer = await make(QUEUE, place)
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        members.append((layer, channel))
    await sender.group_send(group, MESSAGE)
    for layer, channel in members:
        await layer.receive(channel)
    return sender, group, members


@each_death
async def test_members_on_a_dead_server_do_not_delay_the_others(
    make: Make, dead: ServerProcess, die: Callable[[ServerProcess], None]
) -> None:
    sender, group, (_, (living, channel)) = await members_here_and_there(make, **MUCH)
    die(dead)
    sending = asyncio.ensure_future(sender.group_send(group, MESSAGE))
    assert await asyncio.wait_for(living.receive(channel), PATIENCE) == MESSAGE
    assert not sending.done(), "the sender is told in the end who did not get it"
    await cancelled(sending)


async def test_twin_one_after_the_other_the_dead_delay_the_living(
    make: Make, dead: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, group, (_, (living, channel)) = await members_here_and_there(make)
    dead.pause()
    monkeypatch.setattr(Outbox, "post", one_after_the_other(Outbox.post))
    sending = asyncio.ensure_future(fails(sender.group_send(group, MESSAGE)))
    assert await asyncio.wait_for(seconds_of(living.receive(channel)), 10) > 0.8
    await sending


def one_after_the_other(post: Any) -> Any:
    """Post only what comes after an answer to everything before; the members of the dead server come first."""
    before: list[asyncio.Future[str]] = []

    def post_later(self: Outbox, arguments: Any, size: int) -> "asyncio.Future[str]":
        earlier = tuple(before)
        result: asyncio.Future[str] = asyncio.ensure_future(wait_and_post(self, earlier, arguments, size))
        before.append(result)
        return result

    async def wait_and_post(self: Outbox, earlier: Any, arguments: Any, size: int) -> str:
        await asyncio.gather(*earlier, return_exceptions=True)
        return str(await post(self, arguments, size))

    return post_later


async def test_a_member_for_which_too_much_waits_already_keeps_no_other_from_its_message(
    make: Make, dead: ServerProcess
) -> None:
    sender, group, ((_, unreachable), (living, channel)) = await members_here_and_there(make, commands=10)
    dead.pause()
    waiting = []
    for count in (1, 10):  # what is on its way, and what waits behind it
        waiting += [asyncio.ensure_future(fails(sender.send(unreachable, MESSAGE))) for _ in range(count)]
        await asyncio.sleep(0.05)
    with pytest.raises(ServerUnreachable, match="messages wait for it already"):
        await sender.group_send(group, MESSAGE)
    assert await asyncio.wait_for(living.receive(channel), 10) == MESSAGE
    await asyncio.gather(*waiting)


@both_layers
@each_death
async def test_of_many_messages_those_to_a_dead_server_are_named_and_the_others_are_sent(
    make: Make, dead: ServerProcess, kind: Any, die: Callable[[ServerProcess], None]
) -> None:
    layer = await make(kind)
    channel, unsent = await layer.new_channel(), name_at(DEAD, "c", kind)
    await layer.send(unsent, MESSAGE)
    die(dead)
    pairs = [(channel, MESSAGE), (unsent, MESSAGE)] * 20
    with pytest.raises(NotAllSent) as caught:
        await layer.send_many(pairs)
    assert [(failure.index, failure.channel) for failure in caught.value.failures] == [
        (index, unsent) for index in range(1, 40, 2)
    ]
    assert all(isinstance(failure.error, UNSENT) for failure in caught.value.failures)
    assert caught.value.sent == 20
    for _ in range(20):
        assert await asyncio.wait_for(layer.receive(channel), 10) == MESSAGE


@both_layers
async def test_of_several_groups_those_on_a_living_server_get_the_message(
    make: Make, dead: ServerProcess, kind: Any
) -> None:
    layer = await make(kind)
    channel, living, gone = await layer.new_channel(), name_at(LIVING, "g", kind), name_at(DEAD, "g", kind)
    await layer.group_add(living, channel)
    await layer.group_send(gone, MESSAGE)
    dead.kill()
    await fails(layer.group_send([gone, living], MESSAGE))
    assert await asyncio.wait_for(layer.receive(channel), 10) == MESSAGE


async def test_a_group_on_a_dead_server_does_not_delay_the_other_groups_of_a_message(
    make: Make, dead: ServerProcess
) -> None:
    layer = await make(QUEUE, **MUCH)
    channel, living, gone = await layer.new_channel(), name_at(LIVING, "g", QUEUE), name_at(DEAD, "g", QUEUE)
    for group in (living, gone):
        await layer.group_add(group, channel)
    dead.pause()
    sending = asyncio.ensure_future(layer.group_send([gone, living], {"number": 1}))
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"number": 1}
    assert not sending.done()
    dead.resume()
    await sending
    await layer.send(channel, {"number": 2})
    assert await layer.receive(channel) == {"number": 2}, "and it gets it once"


async def test_a_process_whose_own_channels_are_unreachable_hears_its_groups_elsewhere(
    make: Make, dead: ServerProcess
) -> None:
    """On pub/sub, where a group is listened to by itself."""
    sender, listener = await make(PUBSUB), await make(PUBSUB, DEAD)
    group, channel = name_at(LIVING, "g", PUBSUB), await listener.new_channel()
    await listener.group_add(group, channel)
    dead.pause()
    await sender.group_send(group, MESSAGE)
    assert await asyncio.wait_for(listener.receive(channel), 10) == MESSAGE


async def test_shared_channels_elsewhere_are_worked_on(make: Make, dead: ServerProcess) -> None:
    layer = await make(QUEUE, DEAD)
    channel = name_at(LIVING, "c", QUEUE)
    dead.pause()
    await layer.send(channel, MESSAGE)
    async with layer.delivery(channel) as message:
        assert message == MESSAGE


async def test_flushing_empties_the_servers_that_there_are(redis_url: str, dead: ServerProcess) -> None:
    async with RedisChannelLayer(hosts=[dead.url, redis_url], prefix="several", send_timeout=1) as layer:
        channel = name_at(DEAD, "c", QUEUE)  # the places are the other way round
        await layer.send(channel, MESSAGE)
        dead.kill()
        await fails(layer.flush())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(layer.receive(channel), 0.2)
