"""The reliable chat, as a worker handles it: every line gets a number, and is written down before anybody sees it."""

import os
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import channel_layers
from sandbox import store
from sandbox.identity import NAME
from sandbox.store import in_thread

__all__ = ["READERS", "LineConsumer"]

READERS = "readers"
"""The group, on the layer "queue", of the pages that show the reliable chat."""


class LineConsumer(AsyncConsumer):
    """In a worker: keeps one line.

    A line may come twice: from a page that has heard nothing of it, or after the death of a worker. It is known by the
    id that its page gave it, and keeps the number that it has.
    """

    async def line_keep(self, message: dict[str, Any]) -> None:
        """Handle `line.keep`."""
        line = {field: message[field] for field in ("id", "name", "text", "server")}
        kept = await in_thread(store.keep_line, line, f"{NAME}, pid {os.getpid()}")
        await channel_layers["queue"].group_send(READERS, {"type": "line.kept", "line": kept})
