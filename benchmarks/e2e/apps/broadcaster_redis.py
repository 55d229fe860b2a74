"""broadcaster, as its README uses it.

Its listener gives up if it looks before the very first subscription is there, and begins again at the next: hence two
subscriptions before any socket comes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from broadcaster import Broadcast  # type: ignore[import-not-found]
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from benchmarks.e2e.apps.settings import REDIS_URL

broadcast = Broadcast(REDIS_URL)


async def send(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await broadcast.publish(channel=websocket.path_params["room"], message=text)


async def pass_on(websocket: WebSocket, subscriber: Any) -> None:
    async for event in subscriber:
        await websocket.send_text(event.message)


async def receive(websocket: WebSocket) -> None:
    async with broadcast.subscribe(channel=websocket.path_params["room"]) as subscriber:
        await websocket.accept()
        passing_on = asyncio.create_task(pass_on(websocket, subscriber))
        async for _ in websocket.iter_text():
            pass
        passing_on.cancel()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with broadcast, broadcast.subscribe("first"), broadcast.subscribe("second"):
        yield


app = Starlette(
    routes=[WebSocketRoute("/send/{room}", send), WebSocketRoute("/room/{room}", receive)], lifespan=lifespan
)
