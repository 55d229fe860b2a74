"""An application of FastAPI in the same group: the hosts, the prefix and the kind of the layer are the same."""

import os
from typing import Any

from fastapi import FastAPI

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers, register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.routing import add_consumer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
register_channel_layer("default", RedisChannelLayer(hosts=[REDIS_URL], prefix="news", capacity=1000))
register_channel_layer("live", RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="live"))


class NewsConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["news"]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("news", {"type": "news.told", "text": content["text"]})

    async def news_told(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"], "by": "FastAPI"})


class LiveNewsConsumer(NewsConsumer):
    channel_layer_alias = "live"


app = FastAPI(lifespan=channel_layers.lifespan)
add_consumer(app, "/ws/news", NewsConsumer)
add_consumer(app, "/ws/live", LiveNewsConsumer)
