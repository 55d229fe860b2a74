"""The layers of the demo: each purpose has one, and no two share a prefix."""

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from sandbox.layers import setup_channel_layers


def test_each_purpose_has_a_layer(channel_layers: ChannelLayerRegistry) -> None:
    setup_channel_layers()
    before = channel_layers["queue"]
    setup_channel_layers()  # again changes nothing
    assert channel_layers["queue"] is before
    assert {alias: type(channel_layers[alias]) for alias in channel_layers.list_aliases()} == {
        "memory": InMemoryChannelLayer,
        "chat": RedisPubSubChannelLayer,
        "notifications": RedisPubSubChannelLayer,
        "queue": RedisChannelLayer,
    }


def test_what_is_queued_has_a_quarter_of_an_hour_and_prefixes_are_all_different(
    channel_layers: ChannelLayerRegistry,
) -> None:
    setup_channel_layers()
    assert channel_layers["queue"].expiry == 900
    prefixes = [getattr(channel_layers[alias], "prefix", alias) for alias in channel_layers.list_aliases()]
    assert len({*prefixes}) == 4
