"""What can be asked of a server over HTTP."""

import asyncio
import os
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException
from pydantic import BaseModel, Field

from fast_channels.layers import channel_layers
from sandbox import control
from sandbox.consumers import EVERYBODY
from sandbox.identity import identity
from sandbox.jobs import MOST_JOBS, start_jobs
from sandbox.origin import require_page
from sandbox.reports import WATCHERS
from sandbox.rooms import ChatText, chat_message, room_group

__all__ = ["BURST", "router"]

BURST = 2000
"""Messages of a burst."""

router = APIRouter()


@router.post("/api/rooms/{room}/messages", status_code=202)
async def post_message(room: str, said: ChatText) -> dict[str, bool]:
    """Say something in a room from outside: it appears in every page that is in the room, on every server."""
    await channel_layers["chat"].group_send(room_group(room), chat_message(room, said, via="http"))
    return {"sent": True}


class Notification(BaseModel):
    """What everybody should know."""

    text: str = Field(min_length=1, max_length=200)


@router.post("/api/notifications", status_code=202)
async def post_notification(notification: Notification) -> dict[str, bool]:
    """Tell every page on every server, in whatever room it is."""
    message = {"type": "notification", "text": notification.text, **identity()}
    await channel_layers["notifications"].group_send(EVERYBODY, message)
    return {"sent": True}


class Order(BaseModel):
    """How many jobs to start."""

    count: int = Field(default=1, ge=1, le=MOST_JOBS)


@router.post("/api/jobs", status_code=202)
async def post_jobs(order: Order) -> dict[str, list[str]]:
    """Start jobs from outside."""
    return {"ids": await start_jobs(order.count)}


@router.post("/api/burst", status_code=202)
async def post_burst() -> dict[str, int]:
    """Send more messages at once than a mailbox holds, to every page that shows charts."""
    layer = channel_layers["notifications"]
    await asyncio.gather(*(layer.group_send(WATCHERS, {"type": "burst"}) for _ in range(BURST)))
    return {"sent": BURST}


@router.post("/api/processes/{name}/kill", status_code=202, dependencies=[Depends(require_page)])
async def kill(name: str, background: BackgroundTasks) -> dict[str, str]:
    """Kill a process of the demo (SIGKILL), perhaps this one; the supervisor starts another in its place."""
    if name not in control.names():
        raise HTTPException(404, f"There is no process {name!r} that may be killed.")
    background.add_task(control.ask_to_kill, name)  # when the answer is out: it may be the last of this process
    return {"killed": name}


@router.get("/api/server")
async def server() -> dict[str, Any]:
    """Which process answers, where all servers of this demo are, and which processes may be killed."""
    return {**identity(), "servers": os.getenv("SANDBOX_SERVERS", "").split(), "processes": control.names()}


@router.get("/health")
async def health() -> dict[str, Any]:
    """Well if the Redis server behind the layers can be reached (503 if not)."""
    await channel_layers["chat"].group_send("health", {"type": "health.check"})
    return {"status": "ok", **identity(), "layers": channel_layers.list_aliases()}
