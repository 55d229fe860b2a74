"""Capacity: what happens to one message too many."""

import asyncio
import logging

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    logged_by_layers,
    message,
    next_messages,
    skip_unless,
)

__all__ = ["CapacityContract"]


class CapacityContract(ContractTests):
    """A channel holds so many messages; one more is refused, or dropped and counted."""

    @contract_test
    async def test_a_full_channel_refuses_and_stores_nothing(self, make_layer: MakeLayer) -> None:
        skip_unless(self.send_raises_channel_full, "the layer drops what is too much")
        layer = make_layer(capacity=3)
        channel = await layer.new_channel()
        for number in range(3):
            await layer.send(channel, message(number))
        for number in range(3, 6):
            assert not await _send(layer, channel, number)
        assert await next_messages(layer, channel, 3) == [0, 1, 2]
        assert await is_silent(layer, channel)

    @contract_test
    async def test_a_message_received_makes_room_for_one(self, make_layer: MakeLayer) -> None:
        skip_unless(self.send_raises_channel_full, "the layer drops what is too much")
        layer = make_layer(capacity=2)
        channel = await layer.new_channel()
        await layer.send(channel, message(0))
        for number in range(1, 10):
            await layer.send(channel, message(number))
            assert not await _send(layer, channel, -1)
            assert await next_messages(layer, channel, 1) == [number - 1]

    @contract_test
    async def test_capacity_is_exact_with_many_senders(self, make_layer: MakeLayer) -> None:
        skip_unless(self.send_raises_channel_full and self.capacity_is_exact, "the layer's capacity is not exact")
        layer = make_layer(capacity=10)
        channel = await layer.new_channel()
        accepted = await asyncio.gather(*(_send(layer, channel, number) for number in range(50)))
        assert accepted.count(True) == 10
        assert len(await next_messages(layer, channel, 10)) == 10
        assert await is_silent(layer, channel)

    @contract_test
    async def test_what_is_too_much_is_dropped_and_counted(self, make_layer: MakeLayer) -> None:
        skip_unless(not self.send_raises_channel_full, "the layer refuses what is too much")
        layer = make_layer(capacity=3)
        channel = await layer.new_channel()
        for number in range(10):
            await layer.send(channel, message(number))
        await _drops_are(layer, 7)
        assert await next_messages(layer, channel, 3) == [0, 1, 2]
        await layer.send(channel, message(10))
        assert await next_messages(layer, channel, 1) == [10]

    @contract_test
    async def test_a_full_channel_leaves_the_others_alone(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=2)
        full, idle = await layer.new_channel(), await layer.new_channel()
        for number in range(6):
            await _send(layer, full, number)
        await layer.send(idle, message(1))
        await layer.send(idle, message(2))
        assert await next_messages(layer, idle, 2) == [1, 2]

    @contract_test
    async def test_a_channel_gets_the_capacity_of_the_first_pattern_that_matches(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=5, channel_capacity={"small.*": 2, "sma*": 4})
        lost = 0
        for prefix, capacity in (("small", 2), ("smart", 4), ("other", 5)):
            channel = await layer.new_channel(prefix)
            await layer.group_add(prefix, channel)
            for number in range(8):
                await layer.group_send(prefix, message(number))
            lost += 8 - capacity
            await _drops_are(layer, lost)
            assert await next_messages(layer, channel, capacity) == list(range(capacity))
            assert await is_silent(layer, channel)

    @contract_test
    async def test_a_full_member_alone_loses_the_groups_message(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1)
        full, free = await _full_members(layer, 2), await _free_members(layer, 8)
        lost = drops(layer, "over_capacity")
        await layer.group_send("room", message(1))
        await _drops_are(layer, lost + 2)
        for channel in free:
            assert await next_messages(layer, channel, 1) == [1]
        for channel in full:
            assert await next_messages(layer, channel, 1) == [0]
            assert await is_silent(layer, channel)

    @contract_test
    async def test_one_line_is_logged_for_each_episode(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1)
        with logged_by_layers() as records:
            full, free = await _full_members(layer, 2), await _free_members(layer, 8)
            lost = drops(layer, "over_capacity")
            for number in range(1, 4):
                await layer.group_send("room", message(number))
                await _drops_are(layer, lost + 2 * number)
                for channel in free:
                    assert await next_messages(layer, channel, 1) == [number]
            assert _lines(records) == [("INFO", "2 of 10 channels over capacity in group room")]
            for channel in full:
                assert await next_messages(layer, channel, 1) == [0]
            await layer.group_send("room", message(4))  # everybody has room: the episode is over
            await layer.group_send("room", message(5))
            await _drops_are(layer, lost + 6 + 10)
            assert _lines(records)[1:] == [("INFO", "10 of 10 channels over capacity in group room")]


def _lines(records: list[logging.LogRecord]) -> list[tuple[str, str]]:
    lines = [(record.levelname, record.getMessage()) for record in records]
    return [(level, text) for level, text in lines if "in group room" in text]


async def _send(layer: BaseChannelLayer, channel: str, number: int) -> bool:
    """Send, and say whether it was accepted."""
    try:
        await layer.send(channel, message(number))
    except ChannelFull:
        return False
    return True


async def _drops_are(layer: BaseChannelLayer, count: int) -> None:
    await eventually(lambda: drops(layer, "over_capacity") >= count, f"{count} messages dropped")
    assert drops(layer, "over_capacity") == count


async def _free_members(layer: BaseChannelLayer, count: int) -> list[str]:
    """New members of the group `room`."""
    channels = [await layer.new_channel() for _ in range(count)]
    for channel in channels:
        await layer.group_add("room", channel)
    return channels


async def _full_members(layer: BaseChannelLayer, count: int) -> list[str]:
    """New members of the group `room` of a layer of capacity 1; each holds the message 0."""
    channels = [await layer.new_channel() for _ in range(count)]
    for channel in channels:
        await layer.group_add("filled", channel)
    lost = drops(layer, "over_capacity")
    for number in range(2):
        await layer.group_send("filled", message(number))
    await _drops_are(layer, lost + count)
    for channel in channels:
        await layer.group_discard("filled", channel)
        await layer.group_add("room", channel)
    return channels
