"""News in Starlette: a consumer as a route, another one in an endpoint, a lifespan, readiness."""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers, register_channel_layer
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.lifecycle import lifespan, ready
from fast_channels.middleware import OriginValidator
from fast_channels.routing import consumer_route

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
ORIGINS = os.environ.get("ORIGINS", "*").split(",")

register_channel_layer("default", RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="news"))


class NewsConsumer(AsyncJsonWebsocketConsumer):
    """Who listens to a topic, which the path names: `scope["path_params"]` has it."""

    channel_layer_alias = "default"

    async def connect(self) -> None:
        await self.channel_layer.group_add(f"topic.{self.scope['path_params']['topic']}", self.channel_name)
        await self.accept()

    async def news_item(self, event: dict[str, Any]) -> None:
        await self.send_json({"topic": event["topic"], "text": event["text"]})


class EditorConsumer(AsyncJsonWebsocketConsumer):
    """Who writes for a topic."""

    channel_layer_alias = "default"

    def __init__(self, topic: str) -> None:
        super().__init__()
        self.topic = topic

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        message = {"type": "news.item", "topic": self.topic, "text": content["text"]}
        await self.channel_layer.group_send(f"topic.{self.topic}", message)


async def editor(websocket: WebSocket) -> None:
    if websocket.query_params.get("password") != "secret":
        await websocket.close(1008)
        return
    await EditorConsumer.serve(websocket, topic=websocket.path_params["topic"])


async def publish(request: Request) -> JSONResponse:
    topic = request.path_params["topic"]
    item = {"type": "news.item", "topic": topic, "text": (await request.json())["text"]}
    await channel_layers["default"].group_send(f"topic.{topic}", item)
    return JSONResponse({"published": topic}, status_code=202)


async def readiness(request: Request) -> JSONResponse:
    state = await ready()
    return JSONResponse({"state": str(state)}, status_code=200 if state else 503)


app = Starlette(
    routes=[
        consumer_route("/topics/{topic}", OriginValidator(NewsConsumer.as_asgi(), ORIGINS)),
        Mount("/desk", routes=[WebSocketRoute("/{topic}", editor), Route("/{topic}", publish, methods=["POST"])]),
        Route("/ready", readiness),
    ],
    lifespan=lifespan,
)
