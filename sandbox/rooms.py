"""Chat rooms: which group a room is, and what a message in it looks like."""

import os
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from fast_channels.names import check_group_name

__all__ = ["LOBBY", "ROOM_RULE", "ChatText", "Entry", "chat_message", "room_group"]

LOBBY = "lobby"
"""The room that a page opens first, and in which the sender talks."""

ROOM_RULE = "A room's name is made of letters (a to z), digits, hyphens, underscores and periods, at most 94 of them."


class Entry(BaseModel):
    """Somebody who comes into a room."""

    name: str = Field(default="Somebody", min_length=1, max_length=40)


class ChatText(Entry):
    """What somebody typed into a page, or posted."""

    text: str = Field(min_length=1, max_length=500)


def room_group(room: str) -> str:
    """The group of everybody in `room`, on every server.

    Raises:
        InvalidNameError: `room` cannot be part of a group's name; tell people `ROOM_RULE`.
    """
    group = f"room.{room}"
    check_group_name(group)
    return group


def chat_message(room: str, said: ChatText, via: str) -> dict[str, Any]:
    """The layer message that reaches `ChatConsumer.chat_message` wherever somebody is in `room`.

    `via` says how it came: "websocket", "http" or "sender".
    """
    return {
        "type": "chat.message",
        "room": room,
        "name": said.name,
        "text": said.text,
        "via": via,
        "pid": os.getpid(),
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
