"""The channels that were made within a block, for whoever releases them at its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["channel_made", "channel_released", "releasing_channels"]


class _Layer(Protocol):
    async def release_channel(self, channel: str) -> None: ...


_made: ContextVar[dict[str, _Layer] | None] = ContextVar("fast_channels_made", default=None)


@asynccontextmanager
async def releasing_channels() -> AsyncIterator[None]:
    """Release at the end what `new_channel()` of any layer made in the block, in this task or one that it started."""
    made: dict[str, _Layer] = {}
    token = _made.set(made)
    try:
        yield
    finally:
        _made.reset(token)
        while made:
            channel, layer = made.popitem()
            await layer.release_channel(channel)


def channel_made(layer: _Layer, channel: str) -> None:
    """Layers call it when `new_channel()` has made `channel`."""
    made = _made.get()
    if made is not None:
        made[channel] = layer


def channel_released(channel: str) -> None:
    """Layers call it when `channel` is released."""
    made = _made.get()
    if made is not None:
        made.pop(channel, None)
