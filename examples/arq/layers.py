"""The channel layer, as both sides set it up: the application and its workers."""

import os

from fast_channels.layers import has_layers, register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def setup_channel_layers() -> None:
    if not has_layers():
        register_channel_layer("default", RedisChannelLayer(hosts=[REDIS_URL], prefix="reports"))
