"""What the cards have in common: what somebody typed may be wrong, and a layer may be without its server."""

import json
from typing import Any

from pydantic import ValidationError

from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import FastChannelsError
from sandbox.identity import identity

__all__ = ["CardConsumer", "plain"]

TRY_AGAIN_LATER = 1013


class CardConsumer(AsyncJsonWebsocketConsumer):
    """Says hello, and answers what cannot be done with an error instead of ending."""

    is_ready = False
    """Whether the page has its hello: it is in all groups by then."""

    async def connect(self) -> None:
        """Accept, and tell the page which process serves it."""
        await self.accept()
        await self.say_hello()

    async def say_hello(self, **more: Any) -> None:
        """Tell the page which process serves it, and that it may begin."""
        self.is_ready = True
        await self.send_json({"type": "hello", **more, **identity()})

    async def on_error(self, exc: Exception) -> None:
        """Tell the page what was wrong with its message, or with the layer; anything else ends the connection.

        Who could not join their groups, because the layer has no server, may come back later: a page does.
        """
        if not self.is_ready and isinstance(exc, FastChannelsError):
            await self.close(TRY_AGAIN_LATER)
        elif isinstance(exc, ValidationError):
            await self.send_json({"type": "error", "text": plain(exc)})
        elif isinstance(exc, FastChannelsError):
            await self.send_json({"type": "error", "text": f"Not sent: {exc}"})
        elif isinstance(exc, json.JSONDecodeError):
            await self.send_json({"type": "error", "text": "That is no JSON."})
        else:
            await super().on_error(exc)


def plain(error: ValidationError) -> str:
    """The first thing that is wrong, in words for the page."""
    first: Any = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "message"
    return f"{field}: {first['msg']}"
