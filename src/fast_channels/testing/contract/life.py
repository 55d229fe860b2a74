"""How channels and layers begin and end."""

import asyncio
from contextlib import suppress

import pytest

from fast_channels.exceptions import ChannelLayerClosed, ChannelReleased
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    SILENCE,
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    listen,
    message,
    next_messages,
    skip_unless,
)

__all__ = ["LifeContract"]


class LifeContract(ContractTests):
    """A released channel leaves nothing behind; a closed layer opens again."""

    @contract_test
    async def test_a_released_channel_has_left_its_groups(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        stays, released = await layer.new_channel(), await layer.new_channel()
        for group in ("room", "hall"):
            for channel in (stays, released):
                await layer.group_add(group, channel)
        await layer.release_channel(released)
        for group in ("room", "hall"):
            await layer.group_send(group, message(1))
            assert await next_messages(layer, stays, 1) == [1]
        assert await is_silent(layer, released)

    @contract_test
    async def test_a_released_channel_drops_what_is_queued(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel, other = await layer.new_channel(), await layer.new_channel()
        for name in (channel, other):
            await layer.group_add("room", name)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, other, 1) == [1]
        await layer.release_channel(channel)
        assert await is_silent(layer, channel)
        assert drops(layer, "channel_gone") == 1

    @contract_test
    async def test_releasing_again_is_no_error(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for name in (channel, channel, "jobs", await layer.new_channel()):
            await layer.release_channel(name)

    @contract_test
    async def test_a_released_channel_joins_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        member, released = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("room", member)
        await layer.release_channel(released)
        await layer.group_add("room", released)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, member, 1) == [1]
        assert await is_silent(layer, released)

    @contract_test
    async def test_what_is_sent_to_a_released_channel_is_counted(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.release_channel(channel)
        for number in range(3):
            await layer.send(channel, message(number))
        await eventually(lambda: drops(layer, "channel_gone") == 3, "three messages counted as channel_gone")

    @contract_test
    async def test_releasing_one_channel_leaves_the_others_alone(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channels = [await layer.new_channel() for _ in range(3)]
        for number, channel in enumerate(channels):
            await layer.send(channel, message(number))
        await layer.release_channel(channels[1])
        assert await next_messages(layer, channels[0], 1) == [0]
        assert await next_messages(layer, channels[2], 1) == [2]

    @contract_test
    async def test_a_plain_channel_may_be_released(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        await listen(layer, layer, "jobs")
        await layer.group_add("room", "jobs")
        await layer.release_channel("jobs")
        await listen(layer, layer, "jobs")
        await layer.send("jobs", message(1))
        assert await next_messages(layer, "jobs", 1) == [1]

    @contract_test
    async def test_closing_again_is_no_error(self, make_layer: MakeLayer) -> None:
        unused, used = make_layer(), make_layer()
        await _round_trip(used)
        for layer in (unused, used):
            await layer.close()
            await layer.close()

    @contract_test
    async def test_a_closed_layer_opens_again_when_it_is_used(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for _ in range(3):
            await _round_trip(layer)
            await layer.close()

    @contract_test
    async def test_a_closed_layer_has_forgotten_channels_and_memberships(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        old = await layer.new_channel()
        await layer.group_add("room", old)
        await layer.send(old, message(0))
        await layer.close()
        new = await layer.new_channel()
        await layer.group_add("room", new)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, new, 1) == [1]
        assert old not in str(await layer.inspect())

    @contract_test
    async def test_closing_ends_the_wait_of_a_receiver(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        receiving = asyncio.ensure_future(layer.receive(await layer.new_channel()))
        await asyncio.sleep(0.01)
        await layer.close()
        done, _ = await asyncio.wait({receiving}, timeout=5)
        assert done
        assert isinstance(receiving.exception(), ChannelLayerClosed)

    @contract_test
    async def test_a_reader_that_was_busy_while_the_layer_was_closed_is_told(self, make_layer: MakeLayer) -> None:
        skip_unless(not self.reads_ahead, "the default reader opens a closed layer again")
        layer = make_layer()
        reader = layer.reader(await layer.new_channel())
        await layer.close()
        with pytest.raises(ChannelLayerClosed):
            reader.take()

    @contract_test
    async def test_releasing_a_channel_ends_the_wait_of_its_receiver(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)  # it waits
        await layer.release_channel(channel)
        done, _ = await asyncio.wait({receiving}, timeout=5)
        assert done
        assert isinstance(receiving.exception(), ChannelReleased)

    @contract_test
    async def test_a_layer_is_a_context_manager(self, make_layer: MakeLayer) -> None:
        async with make_layer() as layer:
            await _round_trip(layer)
        async with layer as again:
            assert again is layer
            await _round_trip(again)

    @contract_test
    async def test_a_flush_drops_messages_and_memberships(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        await layer.send(channel, message(2))
        assert await next_messages(layer, channel, 2) in ([1, 2], [2, 1])
        await layer.send(channel, message(3))
        await layer.flush()
        await layer.group_send("room", message(4))
        late = [] if self.keeps_for_nobody else [3]  # it was on its way, where nothing could drop it
        assert await _whatever_comes(layer, channel) in ([], late)

    @contract_test
    async def test_a_flushed_layer_works(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.flush()
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]
        await layer.group_add("room", channel)
        await layer.group_send("room", message(2))
        assert await next_messages(layer, channel, 1) == [2]
        await _round_trip(layer)


async def _round_trip(layer: BaseChannelLayer) -> None:
    """Send to a new channel and to its group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.send(channel, message(1))
    assert await next_messages(layer, channel, 1) == [1]
    await layer.group_send("room", message(2))
    assert await next_messages(layer, channel, 1) == [2]
    await layer.release_channel(channel)


async def _whatever_comes(layer: BaseChannelLayer, channel: str) -> list[int]:
    """The numbers of the messages until there is silence."""
    numbers = []
    with suppress(TimeoutError):
        while True:
            numbers.append((await asyncio.wait_for(layer.receive(channel), SILENCE))["number"])
    return numbers
