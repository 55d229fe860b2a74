import asyncio
from typing import Any

import pytest

from fast_channels.consumer.channel import NO_READER, layer_of_worker, open_channel, release_channel
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.reader import EMPTY, PumpedReader
from tests.consumer.layers import Foreign, Old


async def test_an_open_channel_is_read_through_the_layers_own_reader(
    channel_layers: ChannelLayerRegistry, in_memory_layer: InMemoryChannelLayer
) -> None:
    channel_layers.register("chat", in_memory_layer)
    layer, name, reader = await open_channel("chat")
    assert layer is in_memory_layer
    assert reader.take() is EMPTY
    await layer.send(name, {"type": "a"})
    assert reader.take() == {"type": "a"}


async def test_a_layer_itself_will_do(in_memory_layer: InMemoryChannelLayer) -> None:
    layer, name, _ = await open_channel(in_memory_layer)
    assert layer is in_memory_layer
    assert name.startswith("specific.")


def test_only_a_worker_gives_its_layer_to_consumers() -> None:
    layer = InMemoryChannelLayer()
    assert layer_of_worker({"type": "channel", "channel": "jobs", "channel_layer": layer}) is layer
    assert layer_of_worker({"type": "channel", "channel": "jobs"}) is None
    assert layer_of_worker({"type": "websocket", "channel_layer": layer}) is None


async def test_an_alias_that_is_not_registered_is_an_error_that_names_those_that_are(
    channel_layers: ChannelLayerRegistry,
) -> None:
    with pytest.raises(InvalidChannelLayerError, match=r"'xyz' not registered \(none is: call register_channel_layer"):
        await open_channel("xyz")
    channel_layers.register("chat", InMemoryChannelLayer())
    with pytest.raises(InvalidChannelLayerError, match=r"^Channel layer 'xyz' not registered \(registered: 'chat'\)$"):
        await open_channel("xyz")


async def test_a_layer_of_another_library_is_read_through_its_receive(channel_layers: ChannelLayerRegistry) -> None:
    layer: Any = Foreign()
    channel_layers.register("foreign", layer)
    _, name, reader = await open_channel("foreign")
    assert isinstance(reader, PumpedReader)
    waiter = asyncio.get_running_loop().create_future()
    reader.add_waiter(waiter)
    await layer.send(name, {"type": "a"})
    await asyncio.wait_for(waiter, 5)
    assert reader.take() == {"type": "a"}
    reader.close()
    await asyncio.sleep(0)


async def test_a_released_channel_is_in_no_group(in_memory_layer: InMemoryChannelLayer) -> None:
    name = await in_memory_layer.new_channel()
    await in_memory_layer.group_add("a", name)
    await in_memory_layer.group_add("b", name)
    await release_channel(in_memory_layer, name, ["a"])
    assert not in_memory_layer.groups


@pytest.mark.parametrize("kind", [Foreign, Old])
async def test_on_a_layer_that_cannot_release_channels_the_groups_are_discarded(kind: type[Any]) -> None:
    layer = kind()
    if isinstance(layer, Old):
        await release_channel(layer, "specific.x!y", ["a", "b"])
        assert layer.discarded == [("a", "specific.x!y"), ("b", "specific.x!y")]
    else:
        name = await layer.new_channel()
        await layer.group_add("a", name)
        await release_channel(layer, name, ["a", "b"])
        assert not layer.inner.groups


async def test_an_error_within_a_release_is_not_taken_for_a_layer_that_has_none() -> None:
    class Broken(Old):
        async def release_channel(self, channel: str) -> None:
            raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        await release_channel(Broken(), "specific.x!y", ["a"])


async def test_without_a_layer_nothing_is_ever_read() -> None:
    assert NO_READER.take() is EMPTY
    waiter = asyncio.get_running_loop().create_future()
    NO_READER.add_waiter(waiter)
    NO_READER.discard_waiter(waiter)
    NO_READER.close()
    assert not waiter.done()
