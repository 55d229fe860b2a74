"""One message, handed to an application: a scope of its own, and a `receive` that gives the message once."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fast_channels.exceptions import StopConsumer
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.type_defs import ASGIReceiveCallable, ChannelApplication, ChannelMessage, ChannelScope

__all__ = ["handle", "type_of"]


async def handle(application: ChannelApplication, layer: BaseChannelLayer, channel: str, message: Any) -> None:
    """Call `application` with a message of `channel`. A clean return means that it was handled.

    So does `StopConsumer`, which also is what `receive` raises when it is called again.

    Raises:
        ValueError: no message of a type that the application handles.
        asyncio.CancelledError: this task was cancelled; if only something in the handler was, a RuntimeError says so.
        Exception: whatever the handler raised.
    """
    if not isinstance(message, Mapping):
        raise ValueError(f"a worker handles messages with a type, not {type(message).__name__}")
    scope: ChannelScope = {"type": "channel", "channel": channel, "channel_layer": layer}
    try:
        await application(scope, _once(message), _refuse)
    except StopConsumer:
        pass
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("the handler ended with CancelledError, and nobody had cancelled it") from error


def type_of(message: Any) -> str:
    """The type of `message`, for the log: short, and on one line."""
    kind = message.get("type") if isinstance(message, Mapping) else type(message)
    return kind if isinstance(kind, str) and kind.isprintable() and len(kind) <= 80 else f"{kind!r:.80}"


def _once(message: ChannelMessage) -> ASGIReceiveCallable:
    left = [message]

    async def receive() -> ChannelMessage:
        if left:
            return left.pop()
        await asyncio.sleep(0)  # an application that asks again and again must not stop the worker
        raise StopConsumer

    return receive


async def _refuse(message: ChannelMessage) -> None:
    raise RuntimeError(f"a worker has no client to send {type_of(message)} to: send through the channel layer")
