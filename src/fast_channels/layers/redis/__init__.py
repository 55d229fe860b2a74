"""The Redis layers. They need the `redis` extra: `pip install "fast-channels[redis]"`."""

try:
    import hiredis as _hiredis
    import redis as _redis
except ImportError as error:
    raise ImportError(
        f'the Redis layers need a package that is missing ({error.name}): pip install "fast-channels[redis]"'
    ) from error

from fast_channels.layers.redis.pubsub import Gap, RedisPubSubChannelLayer
from fast_channels.layers.redis.queue import RedisChannelLayer

__all__ = ["Gap", "RedisChannelLayer", "RedisPubSubChannelLayer"]

del _hiredis, _redis
