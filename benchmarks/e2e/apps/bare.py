"""No layer: a loop over the sockets of a room, in the one process that there is."""

from collections import defaultdict

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

rooms: dict[str, set[WebSocket]] = defaultdict(set)


async def send(websocket: WebSocket) -> None:
    await websocket.accept()
    room = rooms[websocket.path_params["room"]]
    async for text in websocket.iter_text():
        for member in tuple(room):
            await member.send_text(text)


async def receive(websocket: WebSocket) -> None:
    room = rooms[websocket.path_params["room"]]
    await websocket.accept()
    room.add(websocket)
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        room.discard(websocket)


app = Starlette(routes=[WebSocketRoute("/send/{room}", send), WebSocketRoute("/room/{room}", receive)])
