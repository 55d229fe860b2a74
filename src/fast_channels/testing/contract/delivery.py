"""`delivery()` and `reader()`: what workers and consumers receive with."""

import asyncio
from contextlib import suppress
from typing import Any

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.reader import EMPTY, ChannelReader
from fast_channels.testing.contract.harness import (
    PATIENCE,
    ContractTests,
    MakeLayer,
    contract_test,
    is_silent,
    message,
    next_message,
    next_messages,
    skip_unless,
)

__all__ = ["DeliveryContract"]


class DeliveryContract(ContractTests):
    """A message is acknowledged, or back at the head of its channel; a reader takes only what it hands out."""

    @contract_test
    async def test_a_clean_exit_acknowledges(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await _channel_with(layer, 1, 2)
        async with layer.delivery(channel) as got:
            assert got == message(1)
        assert await next_messages(layer, channel, 1) == [2]
        assert await is_silent(layer, channel)

    @contract_test
    async def test_an_exception_gives_the_message_back_to_the_head(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await _channel_with(layer, 1, 2)
        for _ in range(3):
            assert await _fails_on(layer, channel) == 1
        assert await next_messages(layer, channel, 2) == [1, 2]

    @contract_test
    async def test_a_message_given_back_is_as_it_was(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.send(channel, message(1, tags=["a"]))
        await _fails_on(layer, channel)
        assert await next_message(layer, channel) == message(1, tags=["a"])

    @contract_test
    async def test_a_message_is_given_back_to_a_full_channel(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=2)
        channel = await _channel_with(layer, 1, 2)
        assert await _fails_on(layer, channel, sends=3) == 1
        assert await next_messages(layer, channel, 3) == [1, 2, 3]

    @contract_test
    async def test_a_handler_that_is_cancelled_gives_back(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await _channel_with(layer, 1)
        holds = asyncio.Event()

        async def handle() -> None:
            async with layer.delivery(channel):
                holds.set()
                await asyncio.Event().wait()

        handling = asyncio.ensure_future(handle())
        await asyncio.wait_for(holds.wait(), PATIENCE)
        handling.cancel()
        await asyncio.wait({handling})
        assert handling.cancelled()
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_a_delivery_that_is_cancelled_while_it_waits_loses_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        waiting = asyncio.ensure_future(_fails_on(layer, channel))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting})
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_nothing_is_given_back_to_a_channel_that_was_released(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await _channel_with(layer, 1)
        with suppress(ZeroDivisionError):
            async with layer.delivery(channel):
                await layer.release_channel(channel)
                raise ZeroDivisionError
        assert channel not in str(await layer.inspect())
        assert await is_silent(layer, channel)

    @contract_test
    async def test_an_empty_reader_says_so(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        reader = layer.reader(await layer.new_channel())
        assert reader.take() is EMPTY
        reader.close()

    @contract_test
    async def test_a_reader_reads_in_order_and_waits(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        reader = layer.reader(channel)
        for number in range(3):
            reading = asyncio.ensure_future(_read(reader))
            await asyncio.sleep(0.01)
            await layer.send(channel, message(number))
            assert (await reading)["number"] == number
        for number in range(20):
            await layer.send(channel, message(number))
        assert [(await _read(reader))["number"] for _ in range(20)] == list(range(20))
        reader.close()

    @contract_test
    async def test_a_waiter_is_woken_at_once_if_there_is_something(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await _channel_with(layer, 1)
        reader = layer.reader(channel)
        waiter = asyncio.get_running_loop().create_future()
        reader.add_waiter(waiter)
        await asyncio.wait_for(waiter, PATIENCE)
        reader.discard_waiter(waiter)
        assert (await _read(reader))["number"] == 1
        reader.close()

    @contract_test
    async def test_a_message_wakes_another_waiter_if_the_first_gives_up(self, make_layer: MakeLayer) -> None:
        skip_unless(not self.reads_ahead, "the default reader has one waiter")
        layer = make_layer()
        channel = await layer.new_channel()
        reader = layer.reader(channel)
        waiters = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for waiter in waiters:
            reader.add_waiter(waiter)
        await layer.send(channel, message(1))
        done, left = await asyncio.wait(waiters, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(left)) == (1, 1)
        reader.discard_waiter(done.pop())
        await asyncio.wait(left, timeout=PATIENCE)
        assert left.pop().done()
        assert reader.take() == message(1)
        reader.close()

    @contract_test
    async def test_what_a_reader_did_not_take_stays(self, make_layer: MakeLayer) -> None:
        skip_unless(not self.reads_ahead, "the default reader takes a message ahead")
        layer = make_layer()
        channel = await _channel_with(layer, 1, 2, 3)
        reader = layer.reader(channel)
        assert (await _read(reader))["number"] == 1
        await asyncio.sleep(0.01)
        reader.close()
        assert await next_messages(layer, channel, 2) == [2, 3]

    @contract_test
    async def test_a_reader_hands_out_copies(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        readers = []
        for _ in range(2):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            readers.append(layer.reader(channel))
        await layer.group_send("room", message(1, tags=[]))
        for reader in readers:
            got = await _read(reader)
            assert got == message(1, tags=[])
            got["tags"].append("seen")
            reader.close()


async def _channel_with(layer: BaseChannelLayer, *numbers: int) -> str:
    channel = await layer.new_channel()
    for number in numbers:
        await layer.send(channel, message(number))
    return channel


async def _fails_on(layer: BaseChannelLayer, channel: str, *, sends: int | None = None) -> int:
    """Take a message, spoil it, and fail; the number that it had. Meanwhile, `sends` is sent to the channel."""
    number = -1
    try:
        async with layer.delivery(channel) as got:
            number = got["number"]
            got.clear()
            if sends is not None:
                await _send_once_there_is_room(layer, channel, sends)
                await _everything_has_arrived(layer)
            raise ZeroDivisionError
    except ZeroDivisionError:
        return number


async def _send_once_there_is_room(layer: BaseChannelLayer, channel: str, number: int) -> None:
    """It may take a moment until a sender sees that a message was taken."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ChannelFull):
                return await layer.send(channel, message(number))
            await asyncio.sleep(0.002)


async def _everything_has_arrived(layer: BaseChannelLayer) -> None:
    """`send` may return before its message is there; what goes to another channel of the same owner comes behind it."""
    channel = await layer.new_channel()
    await layer.send(channel, message())
    await next_message(layer, channel)


async def _read(reader: ChannelReader) -> Any:
    loop = asyncio.get_running_loop()
    while (got := reader.take()) is EMPTY:
        waiter = loop.create_future()
        reader.add_waiter(waiter)
        try:
            await asyncio.wait_for(waiter, PATIENCE)
        finally:
            reader.discard_waiter(waiter)
    return got
