"""An application for tests of its end: `uvicorn tests.support.draining:app`.

What it does is in the environment: `OVER` and `TIMEOUT` of its lifespan, `REDIS_URL`, `PREFIX`.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.lifecycle import Lifespan, drain

__all__ = ["app"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    layer = RedisChannelLayer(hosts=[os.environ["REDIS_URL"]], prefix=os.environ["PREFIX"])
    register_channel_layer("default", layer)
    async with Lifespan(over=float(os.environ["OVER"]), timeout=float(os.environ["TIMEOUT"]))(app):
        yield
    print("the layers are closed", flush=True)


class Room(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "hang":
            await asyncio.sleep(3600)
        await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        print(f"disconnect {code} at {time.monotonic():.3f}", flush=True)


app = FastAPI(lifespan=lifespan)


@app.websocket("/room")
async def room(websocket: WebSocket) -> None:
    await Room.serve(websocket)


@app.post("/drain")
async def drained() -> dict[str, int]:
    return (await drain(float(os.environ["OVER"]), float(os.environ["TIMEOUT"])))._asdict()
