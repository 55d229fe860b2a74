"""`fast-channels worker`."""

import asyncio
import logging
from typing import Annotated, Any

import typer

from fast_channels.cli.errors import UsageError
from fast_channels.cli.loading import (
    Alias,
    LayersFunction,
    Prefix,
    RedisUrl,
    call_setup,
    find_layer,
    load,
    refuse_in_memory,
)
from fast_channels.layers import BaseChannelLayer, close_channel_layers
from fast_channels.worker import run_worker

__all__ = ["worker"]


def worker(
    router: Annotated[
        str, typer.Argument(metavar="MODULE:ROUTER", help="A ChannelNameRouter, a consumer, or an ASGI application.")
    ],
    channels: Annotated[
        list[str] | None, typer.Argument(metavar="CHANNEL", help="What to serve; all that the router has.")
    ] = None,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many messages of each channel are handled at once.")] = 1,
    grace: Annotated[
        float, typer.Option(min=0, help="How many seconds handlers have to finish when the worker stops.")
    ] = 8.0,
) -> None:
    """Take messages from shared channels, and have consumers handle them.

    SIGTERM and SIGINT stop it: it takes no more, finishes what runs, and gives back what takes longer than --grace.
    """
    call_setup(layers)
    application = load(router, "ROUTER")
    chosen = find_layer(layer, redis_url, prefix)
    refuse_in_memory(layer, chosen)
    # the application's own logging comes first: then this changes nothing
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(application, channels or None, chosen, concurrency, grace))


async def _serve(
    application: Any, channels: list[str] | None, layer: BaseChannelLayer, concurrency: int, grace: float
) -> None:
    try:
        await run_worker(application, channels, layer=layer, concurrency=concurrency, grace=grace, handle_signals=True)
    except (TypeError, ValueError) as error:  # of how it was called: handlers' errors end there
        raise UsageError(str(error)) from error
    finally:
        await close_channel_layers()
