"""The web application. One server of it: `uvicorn sandbox.main:app`. All of the demo: `python -m sandbox`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fast_channels.exceptions import FastChannelsError, InvalidNameError
from fast_channels.layers import channel_layers
from fast_channels.routing import consumer_route
from sandbox import api
from sandbox.consumers import (
    ChatConsumer,
    JobsConsumer,
    LinesConsumer,
    NotificationConsumer,
    StatisticsConsumer,
    SystemConsumer,
    VisitorConsumer,
)
from sandbox.layers import setup_channel_layers
from sandbox.origin import SameOrigin
from sandbox.presence import presence
from sandbox.reports import report_for_ever
from sandbox.rooms import ROOM_RULE
from sandbox.sockets import SocketCounter

__all__ = ["app"]

STATIC = Path(__file__).parent / "static"

HOSTS = os.getenv("SANDBOX_HOSTS", "127.0.0.1 localhost").split()
"""The names under which the page may be asked for; `*` for any."""

setup_channel_layers()  # before the app is made


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Report while the application runs; close the layers when it ends."""
    async with channel_layers.lifespan(app):
        reporting = asyncio.create_task(report_for_ever("server", besides=presence.announce_all))
        try:
            yield
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])


app = FastAPI(
    title="Fast Channels demo",
    lifespan=lifespan,
    routes=[
        consumer_route("/ws/system", SystemConsumer),
        consumer_route("/ws/chat/{room}", ChatConsumer),
        consumer_route("/ws/jobs", JobsConsumer),
        consumer_route("/ws/lines", LinesConsumer),
        consumer_route("/ws/notifications", NotificationConsumer),
        consumer_route("/ws/statistics", StatisticsConsumer),
        consumer_route("/ws/visitors", VisitorConsumer),
    ],
)
app.include_router(api.router)
app.mount("/static", StaticFiles(directory=STATIC), name="static")
app.add_middleware(SocketCounter)
app.add_middleware(SameOrigin)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


@app.exception_handler(InvalidNameError)
async def bad_room(request: Request, error: Exception) -> JSONResponse:
    """Answer a room that cannot be with the rule."""
    return JSONResponse({"detail": ROOM_RULE}, status_code=422)


@app.exception_handler(FastChannelsError)
async def not_sent(request: Request, error: Exception) -> JSONResponse:
    """Answer with what the layer says: no server, for one."""
    return JSONResponse({"detail": str(error)}, status_code=503)
