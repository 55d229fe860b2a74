"""What a worker is made of: found before it starts, so that nothing is missing later."""

import inspect
from collections.abc import Iterable
from typing import Any

from fast_channels import names
from fast_channels.consumer import AsyncConsumer
from fast_channels.consumer.application import unwrapped
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.registry import channel_layers
from fast_channels.type_defs import ChannelApplication

__all__ = ["find_application", "find_channels", "find_layer"]


def find_application(application: Any) -> ChannelApplication:
    """What handles messages: a class of consumers becomes an application.

    Raises:
        TypeError: it is neither.
    """
    if not callable(application):
        raise TypeError(f"a worker needs a ChannelNameRouter, a consumer or an ASGI application, not {application!r}")
    if inspect.isclass(application) and issubclass(application, AsyncConsumer):
        return application.as_asgi()
    called: ChannelApplication = application
    return called


def find_channels(application: ChannelApplication, wanted: Iterable[str] | None) -> list[str]:
    """The channels to serve, each once; without any `wanted`, those of the router.

    Raises:
        ValueError: there are none, or one cannot be served.
        InvalidNameError: no name of a channel.
    """
    if isinstance(wanted, str):
        raise ValueError(f"channels is a list of names: [{wanted!r}]")
    routed = _routed(application)
    if wanted is None and routed is None:
        raise ValueError("name the channels that the worker serves: only a ChannelNameRouter has some of its own")
    channels = list(dict.fromkeys((routed or ()) if wanted is None else wanted))
    if not channels:
        raise ValueError("a worker needs at least one channel")
    for channel in channels:
        names.check_channel_name(channel)
        if names.is_specific(channel):
            raise ValueError(f"channel {channel!r} belongs to one process: a worker serves plain names, without a !")
        if routed is not None and channel not in routed:
            raise ValueError(f"channel {channel!r} is not in the router, which has: {', '.join(routed) or 'none'}")
    return channels


def _routed(application: ChannelApplication) -> list[str] | None:
    """The channels of a `ChannelNameRouter`, which middleware may wrap; None if there is none."""
    for inner in unwrapped(application):
        mapping = getattr(inner, "application_mapping", None)
        if mapping is not None:
            return list(mapping)
    return None


def find_layer(layer: BaseChannelLayer | str) -> BaseChannelLayer:
    """The layer, or the one with this alias.

    Raises:
        InvalidChannelLayerError: there is none.
    """
    if not isinstance(layer, str):
        return layer
    if layer not in channel_layers:
        raise InvalidChannelLayerError.not_registered(layer, channel_layers.list_aliases())
    return channel_layers[layer]
