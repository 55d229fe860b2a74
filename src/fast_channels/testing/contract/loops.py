"""One layer in several event loops: one after another, and at once."""

import asyncio

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    message,
    next_messages,
)

__all__ = ["LoopsContract"]


class LoopsContract(ContractTests):
    """A layer belongs to no event loop; a channel does, as long as that loop lives."""

    def test_one_loop_after_another(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for _ in range(3):
            self.run(_round_trip(layer))
        self.run(layer.close())

    def test_a_loop_may_close_the_layer_and_another_open_it(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for _ in range(3):
            self.run(_round_trip_and_close(layer))

    def test_a_channel_whose_loop_is_closed_is_adopted_by_the_next_receive(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = self.run(layer.new_channel())

        async def adopt(number: int) -> None:
            receiving = asyncio.ensure_future(_next_with(layer, channel, number))
            while not receiving.done():  # what is sent before it listens again may be lost
                await layer.send(channel, message(number))
                await asyncio.wait({receiving}, timeout=0.02)
            await receiving

        for number in range(2):
            self.run(adopt(number))
        self.run(layer.close())

    @contract_test
    async def test_another_thread_with_its_own_loop_sends(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        receiving = asyncio.ensure_future(next_messages(layer, channel, 2))
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: self.run(layer.send(channel, message(1))))
        await asyncio.to_thread(lambda: self.run(layer.group_send("room", message(2))))
        assert sorted(await receiving) == [1, 2]

    @contract_test
    async def test_loops_in_several_threads_work_at_once(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        threads = (asyncio.to_thread(lambda: self.run(_many(layer))) for _ in range(4))
        await asyncio.gather(_many(layer), *threads)

    @contract_test
    async def test_a_group_spans_the_loops(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        joined, done = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def elsewhere() -> list[int]:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            loop.call_soon_threadsafe(joined.set)
            return await next_messages(layer, channel, 1)

        here = await layer.new_channel()
        await layer.group_add("room", here)
        other = asyncio.ensure_future(asyncio.to_thread(lambda: self.run(elsewhere())))
        await joined.wait()
        await layer.group_send("room", message(1))
        assert await next_messages(layer, here, 1) == [1]
        assert await other == [1]
        done.set()


async def _round_trip(layer: BaseChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.send(channel, message(1))
    await layer.group_send("room", message(2))
    assert sorted(await next_messages(layer, channel, 2)) == [1, 2]


async def _round_trip_and_close(layer: BaseChannelLayer) -> None:
    await _round_trip(layer)
    await layer.close()


async def _many(layer: BaseChannelLayer) -> None:
    channel = await layer.new_channel()
    for number in range(200):
        await layer.send(channel, message(number))
    assert await next_messages(layer, channel, 200) == list(range(200))


async def _next_with(layer: BaseChannelLayer, channel: str, number: int) -> None:
    """Receive until the message of this number comes."""
    while await next_messages(layer, channel, 1) != [number]:
        pass
