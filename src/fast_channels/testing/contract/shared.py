"""Layers that share a backend: what one sends reaches the other, and nobody else."""

import pytest

from fast_channels.exceptions import ForeignChannelError
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    listen,
    message,
    next_message,
    next_messages,
    skip_unless,
)

__all__ = ["SharedContract"]

ALONE = "layers of this kind do not reach each other"


class SharedContract(ContractTests):
    """Two layers on the same backend are as good as one; two prefixes are two worlds."""

    @contract_test
    async def test_a_message_reaches_a_channel_of_another_layer_in_order(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        here, there = make_layer(capacity=1000), make_layer(capacity=1000)
        channel = await there.new_channel()
        for number in range(200):
            await here.send(channel, message(number))
        assert await next_messages(there, channel, 200) == list(range(200))

    @contract_test
    async def test_a_group_spans_layers(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        layers = [make_layer() for _ in range(3)]
        members = [(layer, await layer.new_channel()) for layer in layers for _ in range(3)]
        for layer, channel in members:
            await layer.group_add("room", channel)
        for number in range(10):
            await layers[0].group_send("room", message(number))
        for layer, channel in members:
            assert await next_messages(layer, channel, 10) == list(range(10))

    @contract_test
    async def test_who_only_sends_needs_no_channel(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        sender, there = make_layer(), make_layer()
        channel = await there.new_channel()
        await there.group_add("room", channel)
        await sender.group_send("room", message(1))
        await sender.send(channel, message(2))
        assert sorted(await next_messages(there, channel, 2)) == [1, 2]

    @contract_test
    async def test_a_channel_of_another_layer_may_be_added_to_a_group(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        here, there = make_layer(), make_layer()
        channel = await there.new_channel()
        await here.group_add("room", channel)
        await here.group_add("room", channel)
        for layer in (here, there):
            await layer.group_send("room", message(1))
            assert await next_messages(there, channel, 1) == [1]
        assert await is_silent(there, channel)

    @contract_test
    async def test_a_channel_of_another_layer_may_be_taken_out_of_a_group(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        here, there = make_layer(), make_layer()
        channel, stays = await there.new_channel(), await there.new_channel()
        for name in (channel, stays):
            await there.group_add("room", name)
        await here.group_discard("room", channel)
        for layer in (here, there):
            await layer.group_send("room", message(1))
            assert await next_messages(there, stays, 1) == [1]
        assert await is_silent(there, channel)

    @contract_test
    async def test_a_channel_that_another_layer_released_joins_nothing(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        here, there = make_layer(), make_layer()
        released, member = await there.new_channel(), await there.new_channel()
        await there.group_add("room", member)
        await there.release_channel(released)
        await here.group_add("room", released)
        await here.group_send("room", message(1))
        assert await next_messages(there, member, 1) == [1]
        assert await is_silent(there, released)

    @contract_test
    async def test_a_message_to_a_channel_that_another_layer_released_is_counted_there(
        self, make_layer: MakeLayer
    ) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        here, there = make_layer(), make_layer()
        channel = await there.new_channel()
        await there.release_channel(channel)
        await here.send(channel, message(1))
        await eventually(
            lambda: drops(here, "channel_gone") + drops(there, "channel_gone") == 1, "a message counted as channel_gone"
        )

    @contract_test
    async def test_a_closed_layer_is_in_no_group(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        closed, open_ = make_layer(), make_layer()
        for layer in (closed, open_):
            await layer.group_add("room", await layer.new_channel())
        witness = await open_.new_channel()
        await open_.group_add("room", witness)
        before = closed.statistics()
        await closed.close()
        await open_.group_send("room", message(1))
        assert await next_messages(open_, witness, 1) == [1]
        assert closed.statistics().received == before.received

    @contract_test
    async def test_receiving_on_a_channel_of_another_layer_is_an_assertion_error(self, make_layer: MakeLayer) -> None:
        here, there = make_layer(), make_layer()
        for channel in (await there.new_channel(), "specific.abc!def", "x!"):
            with pytest.raises(ForeignChannelError) as caught:
                await next_message(here, channel)
            assert isinstance(caught.value, AssertionError)
            assert channel in str(caught.value)

    @contract_test
    async def test_a_message_on_a_plain_channel_reaches_one_layer_or_all(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        sender, one, other = make_layer(), make_layer(capacity=1000), make_layer(capacity=1000)
        if self.plain_channels_reach_all:
            for layer in (one, other):
                await listen(layer, sender, "jobs")
            for number in range(10):
                await sender.send("jobs", message(number))
            for layer in (one, other):
                got = [number for number in await next_messages(layer, "jobs", 10) if number >= 0]
                assert got == list(range(len(got)))
        else:
            for number in range(10):
                await sender.send("jobs", message(number))
            assert await next_messages(one, "jobs", 5) + await next_messages(other, "jobs", 5) == list(range(10))

    @contract_test
    async def test_a_prefix_that_begins_with_another_is_another_world(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        short, long = make_layer(prefix="asgi"), make_layer(prefix="asgi2")
        for layer, group, channel in ((short, "2room", "2x"), (long, "room", "x")):
            await layer.group_add(group, await layer.new_channel())
            await listen(layer, layer, channel)
        here, there = await short.new_channel(), await long.new_channel()
        for layer, channel in ((short, here), (long, there)):
            await layer.group_add("room", channel)
        await short.group_send("room", message(1))
        await short.send("2x", message(2))
        assert await next_messages(short, here, 1) == [1]
        assert await next_messages(short, "2x", 1) == [2]
        assert await is_silent(long, there)
        assert await is_silent(long, "x")

    @contract_test
    async def test_a_flush_ends_at_the_prefix(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        short, long = make_layer(prefix="asgi"), make_layer(prefix="asgi2")
        channel = await long.new_channel()
        await long.group_add("room", channel)
        await long.send(channel, message(1))
        await short.flush()
        await long.group_send("room", message(2))
        assert sorted(await next_messages(long, channel, 2)) == [1, 2]

    @contract_test
    async def test_no_channel_name_reaches_a_group(self, make_layer: MakeLayer) -> None:
        layer = make_layer(prefix="asgi")
        channel = await layer.new_channel()
        await layer.group_add("admins", channel)
        prefix = getattr(layer, "prefix", "asgi")
        for name in ("asgi__group__admins", f"{prefix}__group__admins", f"{prefix}.g.admins", "g.admins", "admins"):
            await layer.send(name, message(1))
        await layer.send(channel, message(2))
        assert await next_messages(layer, channel, 1) == [2]
        assert await is_silent(layer, channel)
