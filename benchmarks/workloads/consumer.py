"""The consumers that are measured. One source for both libraries."""

from typing import Any

from benchmarks.workloads.layer import make_layer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer

__all__ = ["ALIAS", "GROUP", "RoomConsumer", "register"]

ALIAS = "bench"
GROUP = "room"


class RoomConsumer(AsyncWebsocketConsumer):
    """Joins a group and passes on what is sent to it."""

    channel_layer_alias = ALIAS
    groups = [GROUP]

    async def bench_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


def register(parameters: dict[str, Any]) -> Any:
    """Make and register the layer that `parameters` name."""
    layer = make_layer(parameters)
    register_channel_layer(ALIAS, layer)
    return layer
