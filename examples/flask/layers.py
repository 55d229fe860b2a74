"""The channel layer, as both applications set it up."""

import os

from fast_channels.layers import has_layers, register_channel_layer
from fast_channels.layers.redis import RedisPubSubChannelLayer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def setup_channel_layers() -> None:
    if not has_layers():
        register_channel_layer("default", RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="shop"))
