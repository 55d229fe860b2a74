"""What each process says about itself once a second, over the layer "notifications": the page makes charts of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import BaseChannelLayer, channel_layers
from sandbox.identity import identity
from sandbox.sockets import open_sockets

__all__ = ["WATCHERS", "Report", "report", "report_for_ever"]

WATCHERS = "watchers"
"""The group, on the layer "notifications", of the pages that show charts."""

EVERY = 1.0
"""Seconds between two reports."""

Report = dict[str, Any]


async def report(role: str, asks_server: bool = False) -> Report:
    """This process and its layers. Counters count from the start of the process.

    Args:
        role: `server`, `worker` or `clock`.
        asks_server: whether to ask how much waits in the queue: that is the same for all, so one process does it.
    """
    layers = {alias: await _state(alias, asks_server) for alias in channel_layers.list_aliases()}
    return {"type": "report", "role": role, **identity(), "sockets": open_sockets(), "layers": layers}


async def _state(alias: str, asks_server: bool) -> Report:
    layer = channel_layers[alias]
    counted = layer.statistics()
    return {
        "sent": counted.sent + counted.group_sent,
        "received": counted.received,
        "dropped": dict(counted.dropped),
        "redelivered": counted.redelivered,
        "disconnections": counted.disconnections,
        "depth": None if alias == "queue" and not asks_server else await _depth(layer),
    }


async def _depth(layer: BaseChannelLayer) -> int:
    """Messages that wait: in this process, and for the queue on its server."""
    channels = (await layer.inspect())["channels"].values()
    return sum(channel["depth"] if isinstance(channel, dict) else channel for channel in channels)


async def report_for_ever(
    role: str, asks_server: bool = False, besides: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Report once a second, through outages of the Redis server; `besides` is done as often."""
    while True:
        try:
            text = json.dumps(await report(role, asks_server))
            # straight to the sockets: encoded once, whatever number of pages there is
            await channel_layers["notifications"].group_send(WATCHERS, {"type": "websocket.send", "text": text})
            if besides is not None:
                await besides()
        except FastChannelsError:
            pass  # the next one says the same, and what was missed
        await asyncio.sleep(EVERY)
