"""What a layer says about itself."""

import dataclasses
import json

from fast_channels.layers.base import LayerStatistics
from fast_channels.testing.contract.harness import (
    PATIENCE,
    ContractTests,
    MakeLayer,
    contract_test,
    message,
    next_messages,
)

__all__ = ["LookingContract"]


class LookingContract(ContractTests):
    """`statistics()` and `inspect()` are plain data, and right."""

    @contract_test
    async def test_statistics_begin_at_zero(self, make_layer: MakeLayer) -> None:
        assert make_layer().statistics() == LayerStatistics()

    @contract_test
    async def test_statistics_count(self, make_layer: MakeLayer) -> None:
        layer, other = make_layer(), make_layer()
        channels = [await layer.new_channel() for _ in range(2)]
        for channel in channels:
            await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        for channel in channels:
            assert await next_messages(layer, channel, 1) == [1]
        await layer.send(channels[0], message(2))
        await layer.send(channels[0], message(3))
        assert await next_messages(layer, channels[0], 2) == [2, 3]
        statistics = layer.statistics()
        assert (statistics.sent, statistics.group_sent, statistics.received) == (2, 1, 4)
        assert (statistics.dropped, statistics.disconnections, statistics.reconnections) == ({}, 0, 0)
        assert other.statistics() == LayerStatistics()

    @contract_test
    async def test_statistics_are_plain_data_of_one_moment(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        before = layer.statistics()
        await layer.release_channel(channel)
        await layer.send(channel, message(1))
        assert before == LayerStatistics()
        assert json.loads(json.dumps(dataclasses.asdict(layer.statistics()))).keys() == {
            field.name for field in dataclasses.fields(LayerStatistics)
        }

    @contract_test
    async def test_inspect_is_plain_data_with_channels_and_groups(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        assert isinstance(await layer.inspect(), dict)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send(channel, message(1))
        text = json.dumps(await layer.inspect())
        assert channel in text
        assert "room" in text
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_a_layer_that_works_is_ready(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        assert await layer.ready(PATIENCE)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        assert str(await layer.ready(PATIENCE)) == "ready"
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]
        assert layer.statistics().dropped == {}

    @contract_test
    async def test_the_extensions_are_named(self, make_layer: MakeLayer) -> None:
        assert {"groups", "flush"} <= set(make_layer().extensions)

    @contract_test
    async def test_the_limits_are_attributes(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=7, channel_capacity={"big.*": 70})
        assert (layer.capacity, layer.get_capacity("jobs"), layer.get_capacity("big.one")) == (7, 7, 70)
        assert layer.MAX_NAME_LENGTH == 100
        assert layer.expiry > 0
        assert layer.non_local_name("specific.a!b") == "specific.a!"

    @contract_test
    async def test_a_layer_has_a_short_repr(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        assert 0 < len(repr(layer)) < 500
        await layer.group_add("room", await layer.new_channel())
        assert 0 < len(repr(layer)) < 500
