"""No layer, but a receiver for each socket: a queue of encoded messages, a future to wake a task, decode, send.

What a consumer is for (handlers of its own, its own copy, its own pace) costs at least this, beside the bare loop.
"""

import asyncio
from collections import defaultdict

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from benchmarks.limits.box import Box, encode

rooms: dict[str, set[Box]] = defaultdict(set)


async def send(websocket: WebSocket) -> None:
    await websocket.accept()
    room = rooms[websocket.path_params["room"]]
    async for text in websocket.iter_text():
        entry = encode({"type": "chat.message", "text": text})
        for box in tuple(room):
            box.put(entry)


async def deliver(websocket: WebSocket, box: Box) -> None:
    while True:
        message = await box.get()
        await websocket.send_text(message["text"])


async def receive(websocket: WebSocket) -> None:
    room = rooms[websocket.path_params["room"]]
    await websocket.accept()
    room.add(box := Box())
    delivering = asyncio.create_task(deliver(websocket, box))
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        room.discard(box)
        delivering.cancel()


app = Starlette(routes=[WebSocketRoute("/send/{room}", send), WebSocketRoute("/room/{room}", receive)])
