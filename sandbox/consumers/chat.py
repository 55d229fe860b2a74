"""The card "Rooms": a chat as fast as possible, between all processes, over the layer "chat"."""

from contextlib import suppress
from typing import Any

from fast_channels.exceptions import FastChannelsError, InvalidNameError
from sandbox.consumers.card import CardConsumer
from sandbox.presence import presence
from sandbox.rooms import ROOM_RULE, ChatText, Entry, chat_message, room_group

__all__ = ["BAD_ROOM", "ChatConsumer"]

BAD_ROOM = 4400
"""The close code that tells a page not to try this room again."""


class ChatConsumer(CardConsumer):
    """A page in a room. What is sent to the room's group, by whatever process, is shown in the page."""

    channel_layer_alias = "chat"
    room = ""

    async def connect(self) -> None:
        """Enter the room that the address names, and tell the page which process serves it.

        It is left by itself when the connection ends.
        """
        await self.accept()
        room: str = self.scope["path_params"]["room"]
        try:
            self.group = room_group(room)
        except InvalidNameError:
            await self.send_json({"type": "error", "text": ROOM_RULE})
            await self.close(code=BAD_ROOM, reason="not a room's name")
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        self.room = room
        await self.say_hello(room=room, id=self.channel_name)

    async def disconnect(self, code: int) -> None:
        """The others in the room see that somebody is gone; with no Redis server, when it is back."""
        with suppress(FastChannelsError):
            await presence.leave(self.room, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """A name to come in with, or a text for everybody in the room."""
        if not self.room:  # it was refused, and the page has not noticed yet
            return
        if isinstance(content, dict) and content.get("type") == "enter":
            await presence.enter(self.room, self.channel_name, Entry.model_validate(content).name)
            return
        message = chat_message(self.room, ChatText.model_validate(content), via="websocket")
        await self.channel_layer.group_send(self.group, {**message, "from": self.channel_name})

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Handle `chat.message`: somebody said something in the room, here or in another process."""
        mine = event.pop("from", None) == self.channel_name
        await self.send_json({**event, "type": "message", "mine": mine})

    async def room_roster(self, event: dict[str, Any]) -> None:
        """Handle `room.roster`: a process says whom it serves in the room."""
        await self.send_json({**event, "type": "roster"})
