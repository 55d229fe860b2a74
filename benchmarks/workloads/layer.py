"""The layer under test, made in the way that both libraries understand."""

from importlib import import_module
from typing import Any, Final

from fast_channels.layers import BaseChannelLayer

__all__ = ["CAPACITY", "make_layer"]

CAPACITY: Final = 1000
"""The capacity of every channel, the same for every layer. No load reaches it."""

CLASSES: Final = {
    "memory": ("fast_channels.layers", "InMemoryChannelLayer"),
    "pubsub": ("fast_channels.layers.redis", "RedisPubSubChannelLayer"),
    "queue": ("fast_channels.layers.redis", "RedisChannelLayer"),
}


def make_layer(parameters: dict[str, Any]) -> BaseChannelLayer:
    """The layer that `parameters` name, on the server at their `url`."""
    module, name = CLASSES[parameters["layer"]]
    options: dict[str, Any] = {"capacity": CAPACITY}
    if parameters["layer"] != "memory":
        options |= {"hosts": [parameters["url"]], "prefix": "bench"}
    layer: BaseChannelLayer = getattr(import_module(module), name)(**options)
    return layer
