"""A chat in FastAPI: dependencies, parameters of path and query, a lifespan, readiness."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Query, Response, WebSocket, WebSocketException, status

from examples.fastapi.chat import ChatConsumer
from fast_channels.layers import BaseChannelLayer, channel_layers, has_layers, register_channel_layer
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.lifecycle import Lifespan, ready

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
TOKENS = {"a-token": "Ada", "b-token": "Ben"}

if not has_layers():
    register_channel_layer("default", RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="chat"))

leaving = Lifespan(over=float(os.environ.get("DRAIN_OVER", "10")), timeout=10)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with leaving(app):
        print("the chat is open", flush=True)
        yield
        print("the chat is closed", flush=True)


async def current_user(token: Annotated[str, Query()] = "") -> str:
    try:
        return TOKENS[token]
    except KeyError:
        raise WebSocketException(status.WS_1008_POLICY_VIOLATION, "who are you?") from None


def layer() -> BaseChannelLayer:
    return channel_layers["default"]


User = Annotated[str, Depends(current_user)]
Layer = Annotated[BaseChannelLayer, Depends(layer)]
Room = Annotated[str, Path(pattern="^[a-z]{1,20}$")]

app = FastAPI(lifespan=lifespan)


@app.websocket("/rooms/{room}")
async def chat(websocket: WebSocket, room: Room, user: User, silent: bool = False) -> None:
    await ChatConsumer.serve(websocket, room=room, user=user, silent=silent)


@app.post("/rooms/{room}/lines", status_code=status.HTTP_202_ACCEPTED)
async def say(room: Room, text: str, layer: Layer) -> None:
    await layer.group_send(f"room.{room}", {"type": "chat.line", "user": "the house", "text": text})


@app.get("/ready")
async def readiness(response: Response) -> dict[str, str]:
    state = await ready()
    response.status_code = status.HTTP_200_OK if state else status.HTTP_503_SERVICE_UNAVAILABLE
    return {"state": str(state)}
