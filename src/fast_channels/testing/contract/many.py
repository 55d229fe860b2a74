"""Many messages in one call, and for how long each is kept."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull, MessageTooLarge, NotAllSent
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    message,
    next_message,
    next_messages,
    skip_unless,
)

__all__ = ["ManyContract"]

EXPIRY = 0.2

Pairs = list[tuple[str, dict[str, Any]]]


class ManyContract(ContractTests):
    """`send_many()` sends what can be sent, in its order, or nothing at all; `expiry` is each message's own."""

    # Many messages

    @contract_test
    async def test_many_messages_arrive_in_their_order(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channels = [await layer.new_channel() for _ in range(3)]
        await layer.send_many((channel, message(number)) for number in range(200) for channel in channels)
        await layer.send_many([(channel, message(200)) for channel in channels])
        for channel in channels:
            assert await next_messages(layer, channel, 201) == list(range(201))
            assert await is_silent(layer, channel)

    @contract_test
    async def test_more_messages_than_are_under_way_at_a_time_arrive(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=10_000)
        channel = await layer.new_channel()
        await layer.send_many([(channel, message(number)) for number in range(3000)])
        assert await next_messages(layer, channel, 3000) == list(range(3000))

    @contract_test
    async def test_no_messages_are_no_error(self, make_layer: MakeLayer) -> None:
        await make_layer().send_many([])

    @contract_test
    async def test_bad_input_among_many_messages_sends_none(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        bad: Pairs = [("no channel", message(2)), (channel, message(2, value=object()))]
        if not self.carries_any_value:
            bad.append((channel, ["no dict"]))  # type: ignore[arg-type]
        for pair in bad:
            with pytest.raises(TypeError):
                await layer.send_many([(channel, message(1)), pair])
        for pairs in ({channel: message(1)}, [(channel, message(1)), (channel,)], [(channel, message(1)), None]):
            with pytest.raises(TypeError):
                await layer.send_many(pairs)  # type: ignore[arg-type]
        layer.max_message_size = 200
        with pytest.raises(MessageTooLarge):
            await layer.send_many([(channel, message(1)), (channel, message(2, value="x" * 1000))])
        assert await is_silent(layer, channel)

    @contract_test
    async def test_of_many_messages_those_are_named_that_were_not_sent(self, make_layer: MakeLayer) -> None:
        skip_unless(self.send_raises_channel_full, "the layer drops what is too much")
        layer = make_layer(capacity=3)
        full, free = await layer.new_channel(), await layer.new_channel()
        pairs = [(full, message(number)) for number in range(5)]
        with pytest.raises(NotAllSent) as caught:
            await layer.send_many([*pairs, (free, message(5))])
        assert [(failure.index, failure.channel) for failure in caught.value.failures] == [(3, full), (4, full)]
        assert all(isinstance(failure.error, ChannelFull) for failure in caught.value.failures)
        assert caught.value.sent == 4
        assert await next_messages(layer, full, 3) == [0, 1, 2]
        assert await next_messages(layer, free, 1) == [5]
        assert await is_silent(layer, full)

    @contract_test
    async def test_of_many_messages_those_are_dropped_and_counted_that_are_too_much(
        self, make_layer: MakeLayer
    ) -> None:
        skip_unless(not self.send_raises_channel_full, "the layer refuses what is too much")
        layer = make_layer(capacity=3)
        full, free = await layer.new_channel(), await layer.new_channel()
        await layer.send_many([*((full, message(number)) for number in range(5)), (free, message(5))])
        await eventually(lambda: drops(layer, "over_capacity") == 2, "two messages dropped")
        assert await next_messages(layer, full, 3) == [0, 1, 2]
        assert await next_messages(layer, free, 1) == [5]

    @contract_test
    async def test_each_of_many_messages_is_counted(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        before = layer.statistics().sent
        await layer.send(channel, message(0))
        counted = layer.statistics().sent - before  # a layer may count nothing
        await layer.send_many([(channel, message(number)) for number in range(1, 6)])
        assert layer.statistics().sent - before == 6 * counted

    @contract_test
    async def test_what_happens_to_many_messages_after_their_sending_changes_nothing(
        self, make_layer: MakeLayer
    ) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        same = message(1, tags=["a"])
        await layer.send_many([(channel, same), (channel, same)])
        same["tags"].append("b")
        first = await next_message(layer, channel)
        first["tags"].append("c")
        assert await next_message(layer, channel) == message(1, tags=["a"])

    # Their own expiry

    @contract_test
    async def test_a_message_may_expire_earlier_than_others(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=30)
        ways = await _ways_to_send(layer, plain=self.keeps_for_nobody)
        for _, send in ways:
            await send(1, EXPIRY)
            await send(2, None)
        await _grow_old()
        for channel, _ in ways:
            assert await next_messages(layer, channel, 1) == [2]

    @contract_test
    async def test_a_message_may_expire_later_than_others(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=EXPIRY)
        ways = await _ways_to_send(layer, plain=self.keeps_for_nobody)
        for _, send in ways:
            await send(1, None)
            await send(2, 30)
        await _grow_old()
        for channel, _ in ways:
            assert await next_messages(layer, channel, 1) == [2]

    @contract_test
    async def test_a_message_may_be_kept_for_as_long_as_one_likes(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for channel, send in await _ways_to_send(layer, plain=self.keeps_for_nobody):
            for number, expiry in enumerate([1, 60.5, 1e9, 1e300, math.inf]):
                await send(number, expiry)
            assert await next_messages(layer, channel, 5) == list(range(5))

    @contract_test
    async def test_an_expiry_that_is_no_time_is_refused(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for channel, send in await _ways_to_send(layer, plain=self.keeps_for_nobody):
            for expiry in (0, -1, math.nan, -math.inf):
                with pytest.raises(ValueError, match="expiry"):
                    await send(1, expiry)
            for other in ("60", True, object(), [1]):
                with pytest.raises(TypeError, match="expiry"):
                    await send(1, other)
            with pytest.raises(ValueError, match="expiry"):
                await layer.send_many([], expiry=0)
            assert await is_silent(layer, channel)


Send = Callable[[int, Any], Awaitable[None]]
"""Sends the message of a number, with an expiry."""


async def _ways_to_send(layer: BaseChannelLayer, *, plain: bool) -> list[tuple[str, Send]]:
    """Each way in which a message is sent, with the channel in which it arrives; also plain ones, or none of them."""
    direct, many, grouped, several = [await layer.new_channel() for _ in range(4)]
    await layer.group_add("room", grouped)
    await layer.group_add("hall", several)
    if plain:
        await layer.group_add("yard", "mails")
    ways: list[tuple[str, Send]] = [
        (direct, lambda number, expiry: layer.send(direct, message(number), expiry=expiry)),
        (many, lambda number, expiry: layer.send_many([(many, message(number))], expiry=expiry)),
        (grouped, lambda number, expiry: layer.group_send("room", message(number), expiry=expiry)),
        (several, lambda number, expiry: layer.group_send(["hall", "nobody"], message(number), expiry=expiry)),
    ]
    if plain:
        ways += [
            ("jobs", lambda number, expiry: layer.send("jobs", message(number), expiry=expiry)),
            ("mails", lambda number, expiry: layer.group_send("yard", message(number), expiry=expiry)),
        ]
    return ways


async def _grow_old() -> None:
    await asyncio.sleep(EXPIRY * 1.5)
