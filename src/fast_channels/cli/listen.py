"""`fast-channels listen`."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from fast_channels import names
from fast_channels.cli.errors import CommandError, UsageError
from fast_channels.cli.loading import (
    Alias,
    LayersFunction,
    Prefix,
    PubSub,
    RedisUrl,
    check_name,
    hush,
    is_pubsub,
    shared_layer,
)
from fast_channels.cli.running import run_with
from fast_channels.cli.terminal import console, json_line, plain
from fast_channels.layers import BaseChannelLayer

__all__ = ["listen"]

Next = Callable[[], AbstractAsyncContextManager[dict[str, Any]]]
"""Waits for a message; it is taken when the block is left without an error."""


def listen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A channel; with --group, a group.")],
    group: Annotated[bool, typer.Option("--group", "-g", help="NAME is a group.")] = False,
    take: Annotated[
        bool, typer.Option("--take", help="On the queue: take the messages of the channel from whoever else would.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="End after this time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each message as JSON, on one line.")] = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    pubsub: PubSub = False,
) -> None:
    """Print the messages of a channel or of a group, as they come.

    To a group, this adds a channel of its own: its members get what they get without it. On pub/sub, so do all who
    receive on a channel. On the queue, each message of a channel goes to one receiver, so that listening there takes it
    from the workers: that needs --take. A message is taken when it is printed.

    Exit codes:

    - 0: --count messages came, or without --count at least one before --timeout
    - 1: they did not, or listening failed
    - 2: no such layer, or no such name
    - 130: it was interrupted
    """
    _check(name, group=group)
    chosen = shared_layer(layer, layers, redis_url, prefix, pubsub=pubsub)
    hush()
    if not group:
        _refuse_to_steal(chosen, name, take=take)
    source = _of_group(chosen, name) if group else _of_channel(chosen, name)
    seen = run_with(_listen(source, count, timeout, _print_json if as_json else _print), chosen)
    if seen < (count or 1):
        wanted = f" of {count}" if count else ""
        raise CommandError(f"{seen}{wanted} messages came in {timeout:g} s: wait longer with --timeout")


def _check(name: str, *, group: bool) -> None:
    check_name(names.check_group_name if group else names.check_channel_name, name)
    if not group and names.is_specific(name):
        raise UsageError(f"only the process that made channel {name} receives on it: listen to a group that it is in")


def _refuse_to_steal(layer: BaseChannelLayer, channel: str, *, take: bool) -> None:
    if take or is_pubsub(layer):
        return
    raise UsageError(
        f"each message of {channel} goes to one receiver, so that your workers would not get what is printed here:"
        " see how many wait with fast-channels inspect, or take them with --take"
    )


@asynccontextmanager
async def _of_group(layer: BaseChannelLayer, group: str) -> AsyncIterator[Next]:
    channel = await layer.new_channel("fast-channels-listen")
    try:
        await layer.group_add(group, channel)
        _begin(f"listening to group {group}")
        yield lambda: _received(layer, channel)
    finally:
        await layer.release_channel(channel)


@asynccontextmanager
async def _of_channel(layer: BaseChannelLayer, channel: str) -> AsyncIterator[Next]:
    # a server that is away is an error here, where receiving would wait for it
    await layer.release_channel(await layer.new_channel("fast-channels-listen"))
    _begin(f"listening to channel {channel}")
    yield lambda: layer.delivery(channel)


@asynccontextmanager
async def _received(layer: BaseChannelLayer, channel: str) -> AsyncIterator[dict[str, Any]]:
    yield await layer.receive(channel)


async def _listen(
    source: AbstractAsyncContextManager[Next], count: int | None, timeout: float | None, show: Callable[[Any], None]
) -> int:
    """How many came."""
    seen = 0
    async with source as next_message:
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                while count is None or seen < count:
                    async with next_message() as message:
                        show(message)
                    seen += 1
        except TimeoutError:
            if not deadline.expired():
                raise
    return seen


def _begin(text: str) -> None:
    """Say that messages are heard from now on. What the layer says of an outage is shown: nothing comes meanwhile."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.module != "checks")  # how a server is set up, `doctor` says
    logging.getLogger("fast_channels").addHandler(handler)
    print(f"{text}: Ctrl-C ends it", file=sys.stderr, flush=True)


def _print_json(message: Any) -> None:
    print(json_line(message), flush=True)


def _print(message: Any) -> None:
    kind = str(message.get("type", "")) if isinstance(message, dict) else ""
    rest = {key: value for key, value in message.items() if key != "type"} if isinstance(message, dict) else message
    line = Text.assemble(
        (f"{datetime.now().astimezone():%H:%M:%S.%f}"[:-3], "dim"), "  ", (plain(kind) or "-", "bold"), "  "
    )
    console().print(line.append(plain(json_line(rest))), soft_wrap=True)
    sys.stdout.flush()
