"""A consumer of Channels, as it stands in any project of Django."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class NewsConsumer(AsyncJsonWebsocketConsumer):
    """Hears the news on the layer that its route names, and tells them to everybody on it."""

    groups = ["news"]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("news", {"type": "news.told", "text": content["text"]})

    async def news_told(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"], "by": "Django"})


class LiveNewsConsumer(NewsConsumer):
    channel_layer_alias = "live"


class LocalNewsConsumer(NewsConsumer):
    channel_layer_alias = "local"
