"""The web application. One server of it: `uvicorn sandbox.main:app`. All of the demo: `python -m sandbox`."""

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.routing import WebSocketRoute

from fast_channels.exceptions import FastChannelsError, InvalidNameError
from fast_channels.layers import channel_layers
from sandbox.consumers import EVERYBODY, ChatConsumer, NotificationConsumer, VisitorConsumer
from sandbox.layers import setup_channel_layers
from sandbox.rooms import ROOM_RULE, ChatText, chat_message, room_group

__all__ = ["app"]

STATIC = Path(__file__).parent / "static"

setup_channel_layers()  # before the app is made

app = FastAPI(
    title="Fast Channels demo",
    lifespan=channel_layers.lifespan,
    routes=[
        WebSocketRoute("/ws/chat/{room}", endpoint=ChatConsumer.as_asgi()),
        WebSocketRoute("/ws/notifications", endpoint=NotificationConsumer.as_asgi()),
        WebSocketRoute("/ws/visitors", endpoint=VisitorConsumer.as_asgi()),
    ],
)
app.mount("/static", StaticFiles(directory=STATIC), name="static")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The chat page."""
    return FileResponse(STATIC / "index.html")


@app.post("/api/rooms/{room}/messages", status_code=202)
async def post_message(room: str, said: ChatText) -> dict[str, bool]:
    """Say something in a room from outside: it appears in every page that is in the room, on every server."""
    await channel_layers["chat"].group_send(room_group(room), chat_message(room, said, via="http"))
    return {"sent": True}


class Notification(BaseModel):
    """What everybody should know."""

    text: str = Field(min_length=1, max_length=200)


@app.post("/api/notifications", status_code=202)
async def post_notification(notification: Notification) -> dict[str, bool]:
    """Tell every page on every server, in whatever room it is."""
    await channel_layers["notifications"].group_send(EVERYBODY, {"type": "notification", "text": notification.text})
    return {"sent": True}


@app.get("/api/server")
async def server() -> dict[str, Any]:
    """Which process answers, and where all servers of this demo are."""
    return {"pid": os.getpid(), "servers": os.getenv("SANDBOX_SERVERS", "").split()}


@app.get("/health")
async def health() -> dict[str, Any]:
    """Well if the Redis server behind the layers can be reached (503 if not)."""
    await channel_layers["chat"].group_send("health", {"type": "health.check"})
    return {"status": "ok", "pid": os.getpid(), "layers": channel_layers.list_aliases()}


@app.exception_handler(InvalidNameError)
async def bad_room(request: Request, error: Exception) -> JSONResponse:
    """Answer a room that cannot be with the rule."""
    return JSONResponse({"detail": ROOM_RULE}, status_code=422)


@app.exception_handler(FastChannelsError)
async def not_sent(request: Request, error: Exception) -> JSONResponse:
    """Answer with what the layer says: no server, for one."""
    return JSONResponse({"detail": str(error)}, status_code=503)
