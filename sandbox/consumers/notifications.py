"""The card "Notifications": what everybody should know, over a layer of its own."""

from typing import Any

from sandbox.consumers.card import CardConsumer

__all__ = ["EVERYBODY", "NotificationConsumer"]

EVERYBODY = "everybody"
"""The group of all pages on all servers, on the layer "notifications"."""


class NotificationConsumer(CardConsumer):
    """A page that is told what everybody should know, in whatever room it is."""

    channel_layer_alias = "notifications"
    groups = [EVERYBODY]

    async def notification(self, event: dict[str, Any]) -> None:
        """Handle `notification`."""
        await self.send_json(event)
