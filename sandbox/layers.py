"""The channel layers of the demo: one for each purpose. Servers and the sender call `setup_channel_layers()` first."""

import os

from fast_channels.layers import InMemoryChannelLayer, has_layers, register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = ["setup_channel_layers"]


def setup_channel_layers() -> None:
    """Register every layer under its alias, once in each process."""
    if has_layers():
        return

    redis_url = os.getenv("REDIS_URL", "redis://localhost:6379")

    # Stays in this process: who is looking at this very server.
    register_channel_layer("memory", InMemoryChannelLayer())

    # Between all processes, as fast as possible. Each has a prefix of its own, so neither sees the other's messages.
    register_channel_layer("chat", RedisPubSubChannelLayer(hosts=[redis_url], prefix="chat"))
    register_channel_layer("notifications", RedisPubSubChannelLayer(hosts=[redis_url], prefix="notify"))

    # What must not be lost: kept on the server until somebody takes it, for a quarter of an hour at most.
    register_channel_layer("queue", RedisChannelLayer(hosts=[redis_url], prefix="queue", expiry=900))
