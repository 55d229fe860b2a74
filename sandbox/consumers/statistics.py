"""The card "Layers": what every process reports about itself, over the layer "notifications"."""

from typing import Any

from sandbox.consumers.card import CardConsumer
from sandbox.reports import WATCHERS

__all__ = ["StatisticsConsumer"]


class StatisticsConsumer(CardConsumer):
    """A page that draws charts. The reports are `websocket.send`: they go to the page without a handler."""

    channel_layer_alias = "notifications"
    groups = [WATCHERS]

    async def burst(self, event: dict[str, Any]) -> None:
        """Handle `burst`: one of very many at once. What the mailbox cannot hold is dropped, and counted."""
