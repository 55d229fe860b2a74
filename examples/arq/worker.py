"""What the worker does. A job of arq is a coroutine: it awaits the layer as everything else in an event loop does."""

import asyncio
from typing import Any

from arq.connections import RedisSettings

from examples.arq.layers import REDIS_URL, setup_channel_layers
from fast_channels.layers import channel_layers


async def make_report(context: dict[str, Any], channel: str, pages: int) -> None:
    layer = channel_layers["default"]
    for page in range(1, pages + 1):
        await asyncio.sleep(0.1)  # the work
        await layer.send(channel, {"type": "report.progress", "page": page, "of": pages})


async def startup(context: dict[str, Any]) -> None:
    setup_channel_layers()


async def shutdown(context: dict[str, Any]) -> None:
    await channel_layers.close()


class WorkerSettings:
    functions = [make_report]
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    on_startup = startup
    on_shutdown = shutdown
