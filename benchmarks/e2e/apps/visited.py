"""Consumers whose clients do not stay: they join two groups, say something to one, hear it, and go."""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from benchmarks.e2e.apps.settings import LAYER, REDIS_URL
from benchmarks.workloads.layer import make_layer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer

register_channel_layer("bench", make_layer({"layer": LAYER, "url": REDIS_URL}))

LEAK = int(os.environ.get("BENCH_LEAK", "0"))
"""Bytes to keep for ever of each visit: so that it can be seen that a leak is seen."""

kept: list[bytes] = []


class VisitedConsumer(AsyncWebsocketConsumer):
    """Answers its client over the layer: once directly, once through the room."""

    channel_layer_alias = "bench"
    groups = ["everybody"]

    async def connect(self) -> None:
        self.room = str(self.scope["path"]).rpartition("/")[2]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.send(self.channel_name, {"type": "said", "text": f"direct {text_data}"})
        await self.channel_layer.group_send(self.room, {"type": "said", "text": f"room {text_data}"})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])

    async def disconnect(self, code: int) -> None:
        if LEAK:
            kept.append(os.urandom(LEAK))


endpoint: Any = VisitedConsumer.as_asgi()
app = Starlette(routes=[Mount("/visit", app=endpoint)])
