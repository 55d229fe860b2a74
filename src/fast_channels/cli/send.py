"""`fast-channels send` and `fast-channels group-send`."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
import typer

from fast_channels import names
from fast_channels.cli.errors import CommandError, UsageError, next_step
from fast_channels.cli.lines import lines_of
from fast_channels.cli.loading import Alias, LayersFunction, Prefix, PubSub, RedisUrl, check_name, hush, shared_layer
from fast_channels.cli.running import run_with
from fast_channels.cli.terminal import json_text
from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import BaseChannelLayer

__all__ = ["group_send", "send"]

Message = dict[str, Any]

EXAMPLE: Final = """write something like '{"type": "chat.message"}'"""

Text = Annotated[str, typer.Argument(metavar="MESSAGE", help="A JSON object; - reads one from each line of stdin.")]
Expiry = Annotated[
    float | None, typer.Option(min=0.001, metavar="SECONDS", help="How long it is kept; else as the layer says.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def send(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    message: Text,
    expiry: Expiry = None,
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    pubsub: PubSub = False,
) -> None:
    """Send a message to a channel.

    Exit codes:

    - 0: sent
    - 1: it was not, or nobody receives there and it is lost
    - 2: no such layer, no such name, or the message is no JSON object
    """
    check_name(names.check_channel_name, channel)
    chosen = shared_layer(layer, layers, redis_url, prefix, pubsub=pubsub)
    options: dict[str, Any] = {} if expiry is None else {"expiry": expiry}
    count = _send_all(chosen, message, lambda content: chosen.send(channel, content, **options))
    lost = _lost(chosen)
    _report(count - lost, channel, as_json=as_json)
    if lost:
        raise CommandError(f"{lost} of {count} lost, because nobody receives on {channel}: start what receives there")


def group_send(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="One, or several with commas between them.")],
    message: Text,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="CHANNEL", help="Does not get it; may be given several times.")
    ] = None,
    expiry: Expiry = None,
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    pubsub: PubSub = False,
) -> None:
    """Send a message to every member of a group. A group may have none: nobody counts them.

    Exit codes:

    - 0: sent
    - 1: it was not
    - 2: no such layer, no such name, or the message is no JSON object
    """
    groups = group.split(",")
    for name in groups:
        check_name(names.check_group_name, name)
    left_out = exclude or []
    for name in left_out:
        check_name(names.check_channel_name, name)
    chosen = shared_layer(layer, layers, redis_url, prefix, pubsub=pubsub)
    to: Any = groups if len(groups) > 1 else group
    options: dict[str, Any] = {"exclude": left_out} if left_out else {}
    if expiry is not None:
        options["expiry"] = expiry
    count = _send_all(chosen, message, lambda content: chosen.group_send(to, content, **options))
    _report(count, f"group {group}", as_json=as_json)


def _send_all(layer: BaseChannelLayer, text: str, send_one: Callable[[Message], Awaitable[None]]) -> int:
    """How many there were."""
    hush()
    if text == "-":
        return run_with(_send_lines(send_one), layer)
    content = _parsed(text, "MESSAGE")

    async def sending() -> int:
        await send_one(content)
        return 1

    return run_with(sending(), layer)


async def _send_lines(send_one: Callable[[Message], Awaitable[None]]) -> int:
    number = count = 0
    lines = _stdin()
    try:
        async for line in lines:
            number += 1
            if line.strip():
                await send_one(_parsed(line, f"line {number} of stdin"))
                count += 1
    except UsageError as error:
        raise UsageError(f"{error} ({count} sent before it)") from None
    except FastChannelsError as error:
        raise CommandError(f"{error} (line {number} of stdin; {count} sent before it){next_step(error)}") from error
    return count


def _stdin() -> AsyncIterator[str]:
    if sys.stdin is None:
        raise UsageError("stdin is closed: pipe messages into this command, or write MESSAGE instead of -")
    return lines_of(os.dup(sys.stdin.fileno()))


def _parsed(text: str, what: str) -> Message:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise UsageError(f"{what} is no JSON ({error}): {EXAMPLE}") from None
    except RecursionError:
        raise UsageError(f"{what} is no JSON that can be read (too many levels): {EXAMPLE}") from None
    if not isinstance(message, dict):
        raise UsageError(f"{what} is no JSON object: {EXAMPLE}")
    return message


def _lost(layer: BaseChannelLayer) -> int:
    dropped = layer.statistics().dropped
    return dropped.get("no_receiver", 0) + dropped.get("channel_gone", 0)


def _report(count: int, where: str, *, as_json: bool) -> None:
    text = f"{count} message{'' if count == 1 else 's'} sent to {where}."
    print(json_text({"sent": count}) if as_json else text)
