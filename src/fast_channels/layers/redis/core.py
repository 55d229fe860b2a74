"""The queue layer, where programs written for older libraries import it from."""

from fast_channels.layers.redis.queue import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
