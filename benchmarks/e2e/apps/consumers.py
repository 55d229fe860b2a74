"""Consumers and a channel layer: one source for 1.1.0 and this library."""

from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from benchmarks.e2e.apps.settings import LAYER, REDIS_URL
from benchmarks.workloads.layer import make_layer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer

register_channel_layer("bench", make_layer({"layer": LAYER, "url": REDIS_URL}))


def room_of(scope: Any) -> str:
    """The last part of the path is the room."""
    return str(scope["path"]).rpartition("/")[2]


class SendConsumer(AsyncWebsocketConsumer):
    """Sends what its client says to the room, and is no member of it."""

    channel_layer_alias = "bench"

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(room_of(self.scope), {"type": "chat.message", "text": text_data})


class RoomConsumer(AsyncWebsocketConsumer):
    """A member of the room."""

    channel_layer_alias = "bench"

    async def connect(self) -> None:
        await self.channel_layer.group_add(room_of(self.scope), self.channel_name)
        await self.accept()

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


endpoints: dict[str, Any] = {"/send": SendConsumer.as_asgi(), "/room": RoomConsumer.as_asgi()}
app = Starlette(routes=[Mount(path, app=endpoint) for path, endpoint in endpoints.items()])
