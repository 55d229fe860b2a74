"""Sending and receiving, and the names of new channels."""

import asyncio
import random

from fast_channels import names
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    is_silent,
    listen,
    message,
    next_message,
    next_messages,
    skip_unless,
)

__all__ = ["SendingContract"]


class SendingContract(ContractTests):
    """What is sent to a channel arrives there, once, in the order of its sender."""

    @contract_test
    async def test_a_message_arrives(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.send(channel, message(1))
        assert await next_message(layer, channel) == message(1)
        assert await is_silent(layer, channel)

    @contract_test
    async def test_a_receiver_waits_for_its_message(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        receiving = asyncio.ensure_future(next_message(layer, channel))
        await asyncio.sleep(0)
        await layer.send(channel, message(1))
        assert await receiving == message(1)

    @contract_test
    async def test_messages_of_a_sender_arrive_in_order(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()
        for number in range(500):
            await layer.send(channel, message(number))
        assert await next_messages(layer, channel, 500) == list(range(500))

    @contract_test
    async def test_several_senders_each_keep_their_order(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()

        async def send(sender: int) -> None:
            for number in range(50):
                await layer.send(channel, message(number, sender=sender))

        await asyncio.gather(*(send(sender) for sender in range(10)))
        arrived = [await next_message(layer, channel) for _ in range(500)]
        for sender in range(10):
            assert [one["number"] for one in arrived if one["sender"] == sender] == list(range(50))

    @contract_test
    async def test_each_message_goes_to_one_of_several_receivers(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()
        receivers = [asyncio.ensure_future(next_messages(layer, channel, 20)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for number in range(60):
            await layer.send(channel, message(number))
            await asyncio.sleep(0)
        shares = await asyncio.gather(*receivers)
        assert sorted(number for share in shares for number in share) == list(range(60))
        assert all(share == sorted(share) for share in shares)

    @contract_test
    async def test_channels_do_not_mix(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channels = [await layer.new_channel() for _ in range(5)]
        for number, channel in enumerate(channels):
            await layer.send(channel, message(number))
        for number, channel in reversed(list(enumerate(channels))):
            assert await next_messages(layer, channel, 1) == [number]
            assert await is_silent(layer, channel)

    @contract_test
    async def test_a_plain_channel_needs_no_new_channel(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        await listen(layer, layer, "jobs")
        for number in range(10):
            await layer.send("jobs", message(number))
        assert await next_messages(layer, "jobs", 10) == list(range(10))

    @contract_test
    async def test_a_message_on_a_plain_channel_waits_for_its_receiver(self, make_layer: MakeLayer) -> None:
        skip_unless(self.keeps_for_nobody, "the layer keeps nothing for nobody")
        layer = make_layer()
        await layer.send("jobs", message(1))
        await layer.send("jobs", message(2))
        assert await next_messages(layer, "jobs", 2) == [1, 2]

    @contract_test
    async def test_new_channels_are_specific_and_begin_with_their_prefix(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for prefix in ("specific", "chat", "a.b-c_d"):
            channel = await layer.new_channel(prefix)
            assert channel.startswith(f"{prefix}.")
            assert names.is_specific(channel)
            assert layer.require_valid_channel_name(channel)
        assert (await layer.new_channel()).startswith("specific.")

    @contract_test
    async def test_new_channels_are_unique(self, make_layer: MakeLayer) -> None:
        layers = [make_layer(), make_layer()]
        channels = [await layer.new_channel() for layer in layers for _ in range(500)]
        assert len(set(channels)) == 1000

    @contract_test
    async def test_new_channels_are_unique_after_seeding(self, make_layer: MakeLayer) -> None:
        layers = [make_layer() for _ in range(3)]
        state = random.getstate()
        channels = set()
        try:
            for layer in layers * 2:
                random.seed(1)
                channels |= {await layer.new_channel() for _ in range(3)}
        finally:
            random.setstate(state)
        assert len(channels) == 18

    @contract_test
    async def test_two_layers_own_different_channels(self, make_layer: MakeLayer) -> None:
        one, other = make_layer(), make_layer()
        owners = {names.client_of(await layer.new_channel()) for layer in (one, other)}
        assert len(owners) == 2
