"""Channel layers, and the registry that names them."""

from typing import TYPE_CHECKING, Any

from fast_channels.layers.base import BaseChannelLayer, LayerStatistics
from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.readiness import Readiness
from fast_channels.layers.registry import (
    ChannelLayerRegistry,
    channel_layers,
    close_channel_layers,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    unregister_channel_layer,
)

if TYPE_CHECKING:
    from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = [
    "BaseChannelLayer",
    "ChannelLayerRegistry",
    "InMemoryChannelLayer",
    "LayerStatistics",
    "Readiness",
    "RedisChannelLayer",
    "RedisPubSubChannelLayer",
    "channel_layers",
    "close_channel_layers",
    "get_channel_layer",
    "has_layers",
    "register_channel_layer",
    "unregister_channel_layer",
]

if not TYPE_CHECKING:  # a checker would take every name for one of the module's

    def __getattr__(name: str) -> Any:
        if name not in ("RedisChannelLayer", "RedisPubSubChannelLayer"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fast_channels.layers import redis

        return getattr(redis, name)
