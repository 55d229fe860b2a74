"""The consumer: who is in a room, and what is said there."""

from typing import Any

from fast_channels.consumer import AsyncJsonWebsocketConsumer

__all__ = ["ChatConsumer"]


class ChatConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"
    max_message_size = 64 * 1024  # a page that sends more is closed with code 1009

    def __init__(self, room: str, user: str, silent: bool = False) -> None:
        super().__init__()
        self.room = f"room.{room}"
        self.user = user
        self.silent = silent
        self.groups = [self.room]

    async def connect(self) -> None:
        await self.accept()
        if not self.silent:
            await self.say("has come")

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        await self.say(str(content["text"]))

    async def disconnect(self, code: int) -> None:
        if not self.silent:
            await self.say("has left")

    async def say(self, text: str) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.line", "user": self.user, "text": text})

    async def chat_line(self, event: dict[str, Any]) -> None:
        await self.send_json({"user": event["user"], "text": event["text"]})
