"""Cancelling `receive()` ends that wait and nothing else."""

import asyncio
import random
from typing import Any

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    listen,
    message,
    next_messages,
)

__all__ = ["CancellingContract"]

CANCELS = 1000


class CancellingContract(ContractTests):
    """No message is lost with the wait for it, and no membership."""

    @contract_test
    async def test_what_comes_after_a_cancelled_receive_is_there(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        assert await _cancel(asyncio.ensure_future(layer.receive(channel))) is None
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]
        await layer.group_send("room", message(2))
        assert await next_messages(layer, channel, 1) == [2]

    @contract_test
    async def test_the_other_receivers_get_what_a_cancelled_one_was_woken_for(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        first, second = (asyncio.ensure_future(layer.receive(channel)) for _ in range(2))
        await asyncio.sleep(0.01)
        await layer.send(channel, message(1))
        first_got = await _cancel(first)
        if first_got is None:
            assert (await asyncio.wait_for(second, 5))["number"] == 1
        assert first_got in (None, 1)
        await _cancel(second)

    @contract_test
    async def test_a_receiver_cancelled_all_the_time_loses_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=CANCELS)
        channel = await layer.new_channel()
        sending = asyncio.ensure_future(_send(layer, channel))
        got, cancelled = await _receive_and_cancel(layer, channel, CANCELS, random.Random(1))  # noqa: S311
        await sending
        assert got == list(range(CANCELS))
        assert cancelled >= CANCELS

    @contract_test
    async def test_a_receiver_of_a_plain_channel_cancelled_all_the_time_loses_nothing(
        self, make_layer: MakeLayer
    ) -> None:
        layer = make_layer(capacity=CANCELS)
        await listen(layer, layer, "jobs")
        sending = asyncio.ensure_future(_send(layer, "jobs"))
        got, _ = await _receive_and_cancel(layer, "jobs", CANCELS, random.Random(2))  # noqa: S311
        await sending
        assert got == list(range(CANCELS))

    @contract_test
    async def test_several_receivers_cancelled_all_the_time_lose_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=CANCELS)
        channel = await layer.new_channel()
        got: list[int] = []
        chance = random.Random(1)  # noqa: S311
        receivers = [_receive_until_complete(layer, channel, got, chance) for _ in range(3)]
        await asyncio.gather(_send(layer, channel), *receivers)
        assert sorted(got) == list(range(CANCELS))


async def _send(layer: BaseChannelLayer, channel: str) -> None:
    for number in range(CANCELS):
        await layer.send(channel, message(number))
        await asyncio.sleep(0)


async def _receive_and_cancel(
    layer: BaseChannelLayer, channel: str, count: int, chance: random.Random
) -> tuple[list[int], int]:
    """Receive `count` messages, and cancel `receive()` as often, at random moments."""
    got: list[int] = []
    cancelled = 0
    while len(got) < count or cancelled < count:
        number = await _receive_a_moment(layer, channel, chance)
        if number is None:
            cancelled += 1
        else:
            got.append(number)
    return got, cancelled


async def _receive_until_complete(layer: BaseChannelLayer, channel: str, got: list[int], chance: random.Random) -> None:
    while len(got) < CANCELS:
        number = await _receive_a_moment(layer, channel, chance)
        if number is not None:
            got.append(number)


async def _receive_a_moment(layer: BaseChannelLayer, channel: str, chance: random.Random) -> int | None:
    receiving = asyncio.ensure_future(layer.receive(channel))
    for _ in range(chance.randrange(4)):
        await asyncio.sleep(0)
    return await _cancel(receiving)


async def _cancel(receiving: "asyncio.Future[Any]") -> int | None:
    """Cancel the wait; the number of the message that came nevertheless, or None."""
    receiving.cancel()
    await asyncio.wait({receiving})
    if receiving.cancelled():
        return None
    got = receiving.result()
    return int(got["number"]) if isinstance(got, dict) else None
