"""A consumer's own channel: opened when it begins, released when it ends."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.reader import EMPTY, ChannelReader, PumpedReader
from fast_channels.layers.registry import channel_layers
from fast_channels.type_defs import ChannelScope

__all__ = ["NO_READER", "OpenChannel", "layer_of_worker", "open_channel", "release_channel"]


class OpenChannel(NamedTuple):
    """A channel of a layer, and its receiving end."""

    layer: BaseChannelLayer
    name: str
    reader: ChannelReader


class _NoReader:
    """A channel on which nothing ever arrives: there is no layer, or the consumer has left."""

    def take(self) -> Any:
        return EMPTY

    def add_waiter(self, waiter: "asyncio.Future[None]") -> None:
        pass

    def discard_waiter(self, waiter: "asyncio.Future[None]") -> None:
        pass

    def close(self) -> None:
        pass


NO_READER: Final[ChannelReader] = _NoReader()


def layer_of_worker(scope: ChannelScope) -> BaseChannelLayer | None:
    """The layer of the worker that made `scope`; None for the scope of a connection."""
    layer: BaseChannelLayer | None = scope.get("channel_layer") if scope.get("type") == "channel" else None
    return layer


async def open_channel(layer: BaseChannelLayer | str) -> OpenChannel:
    """A new channel on `layer`, or on the one that is registered under this alias.

    Raises:
        InvalidChannelLayerError: there is none; the error names the aliases that there are.
    """
    if isinstance(layer, str):
        if layer not in channel_layers:
            raise InvalidChannelLayerError.not_registered(layer, channel_layers.list_aliases())
        layer = channel_layers[layer]
    name = await layer.new_channel()
    if hasattr(layer, "reader"):
        return OpenChannel(layer, name, layer.reader(name))
    return OpenChannel(layer, name, PumpedReader(partial(layer.receive, name)))  # a layer of another library


async def release_channel(layer: BaseChannelLayer, channel: str, groups: Iterable[str]) -> None:
    """Make `channel` leave all groups; on a layer that cannot release a channel, those in `groups`."""
    release = getattr(layer, "release_channel", None)
    if release is not None:
        try:
            await release(channel)
        except NotImplementedError:
            pass
        else:
            return
    for group in groups:
        await layer.group_discard(group, channel)
