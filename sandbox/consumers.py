"""The three WebSockets of a page: one consumer for each purpose, each on the layer that fits it."""

import os
from typing import Any, ClassVar

from pydantic import ValidationError

from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import FastChannelsError, InvalidNameError
from fast_channels.layers import BaseChannelLayer
from sandbox.rooms import ROOM_RULE, ChatText, chat_message, room_group

__all__ = ["BAD_ROOM", "EVERYBODY", "ChatConsumer", "NotificationConsumer", "VisitorConsumer"]

EVERYBODY = "everybody"
"""The group of all pages on all servers, on the layer "notifications"."""

BAD_ROOM = 4400
"""The close code that tells a page not to try this room again."""


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """A page in a room. What is sent to the room's group, by whatever process, is shown in the page."""

    channel_layer_alias = "chat"
    channel_layer: BaseChannelLayer  # never None, as it has an alias

    async def connect(self) -> None:
        """Enter the room that the address names, and tell the page which process serves it.

        It is left by itself when the connection ends.
        """
        await self.accept()
        self.room: str = self.scope["path_params"]["room"]
        try:
            self.group = room_group(self.room)
        except InvalidNameError:
            await self.send_json({"type": "error", "text": ROOM_RULE})
            await self.close(code=BAD_ROOM, reason="not a room's name")
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.send_json({"type": "hello", "room": self.room, "pid": os.getpid()})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """What was typed into the page goes to everybody in the room."""
        try:
            message = chat_message(self.room, ChatText.model_validate(content), via="websocket")
            await self.channel_layer.group_send(self.group, {**message, "from": self.channel_name})
        except ValidationError as error:
            await self.send_json({"type": "error", "text": plain(error)})
        except FastChannelsError as error:
            await self.send_json({"type": "error", "text": f"Not sent: {error}"})

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Handle `chat.message`: somebody said something in the room, here or in another process."""
        mine = event.pop("from", None) == self.channel_name
        await self.send_json({**event, "type": "message", "mine": mine})


class NotificationConsumer(AsyncJsonWebsocketConsumer):
    """A page that is told what everybody should know, in whatever room it is."""

    channel_layer_alias = "notifications"
    groups = [EVERYBODY]

    async def notification(self, event: dict[str, Any]) -> None:
        """Handle `notification`."""
        await self.send_json(event)


class VisitorConsumer(AsyncJsonWebsocketConsumer):
    """Counts the pages that this process serves: the in-memory layer reaches no other process."""

    channel_layer_alias = "memory"
    channel_layer: BaseChannelLayer
    groups = ["visitors"]

    visitors: ClassVar[set[str]] = set()

    async def connect(self) -> None:
        """One more."""
        await self.accept()
        self.visitors.add(self.channel_name)
        await self.tell_all()

    async def disconnect(self, code: int) -> None:
        """One less."""
        self.visitors.discard(self.channel_name)
        await self.tell_all()

    async def tell_all(self) -> None:
        """Send the number to every page of this server."""
        await self.channel_layer.group_send("visitors", {"type": "visitors.changed", "count": len(self.visitors)})

    async def visitors_changed(self, event: dict[str, Any]) -> None:
        """Handle `visitors.changed`."""
        await self.send_json({"type": "visitors", "count": event["count"], "pid": os.getpid()})


def plain(error: ValidationError) -> str:
    """The first thing that is wrong, in words for the page."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "message"
    return f"{field}: {first['msg']}"
