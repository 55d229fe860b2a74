"""What consumers are tested with."""

from collections.abc import Iterator

import pytest

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer


@pytest.fixture
def layer(channel_layers: ChannelLayerRegistry) -> Iterator[InMemoryChannelLayer]:
    """An in-memory layer, registered as `default`."""
    layer = InMemoryChannelLayer()
    channel_layers.register("default", layer)
    yield layer
    assert not layer.groups, "a consumer has ended and is still in its groups"
