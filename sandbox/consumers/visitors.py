"""How many pages this very process serves, over the in-memory layer, which reaches no other process."""

from typing import Any, ClassVar

from sandbox.consumers.card import CardConsumer
from sandbox.identity import identity

__all__ = ["VisitorConsumer"]


class VisitorConsumer(CardConsumer):
    """Counts the pages that this process serves."""

    channel_layer_alias = "memory"
    groups = ["visitors"]

    visitors: ClassVar[set[str]] = set()

    async def connect(self) -> None:
        """One more."""
        await super().connect()
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
        await self.send_json({"type": "visitors", "count": event["count"], **identity()})
