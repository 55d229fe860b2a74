"""A notice board: a WebSocket that hears what the script announces."""

import os
from typing import Any

from fastapi import FastAPI

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import channel_layers, register_channel_layer
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.routing import add_consumer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
register_channel_layer("board", RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="board"))


class BoardConsumer(AsyncWebsocketConsumer):
    channel_layer_alias = "board"
    groups = ["everybody"]

    async def announcement(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


app = FastAPI(lifespan=channel_layers.lifespan)
add_consumer(app, "/ws/board", BoardConsumer)
