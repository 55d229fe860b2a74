"""`fast-channels doctor`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from fast_channels.cli.loading import LayersFunction, Prefix, PubSub, RedisUrl, call_setup, find_layers, hush
from fast_channels.cli.running import run_with
from fast_channels.cli.terminal import console, json_text, plain, show
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.findings import Finding, Level

__all__ = ["doctor"]

STYLES: Final = {Level.OK: "green", Level.NOTE: "yellow", Level.WRONG: "bold red"}


def doctor(
    layer: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="The layer to examine; all that are registered without.")
    ] = None,
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    pubsub: PubSub = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Connect as the application does, and say what is right and wrong, and what to do about it.

    Looked at are the version of each server, its topology, eviction, persistence, memory and buffers, its latency and
    its clock, TLS, the user and its permissions, and whether messages pass. What is tried there has names of its own.

    Exit codes:

    - 0: nothing is wrong
    - 1: something is
    - 2: a server cannot be connected to, or there is no such layer
    """
    call_setup(layers)
    hush()
    chosen = find_layers(layer, redis_url, prefix, pubsub=pubsub)
    found = run_with(_examine(chosen), *chosen.values())
    if as_json:
        print(json_text([_as_data(alias, chosen[alias], findings) for alias, findings in found.items()]))
    else:
        _print(chosen, found)
    raise typer.Exit(exit_code([finding for findings in found.values() for finding in findings]))


async def _examine(chosen: Mapping[str, BaseChannelLayer]) -> dict[str, list[Finding]]:
    return {alias: await _findings(layer) for alias, layer in chosen.items()}


async def _findings(layer: BaseChannelLayer) -> list[Finding]:
    if isinstance(layer, InMemoryChannelLayer):
        return [Finding(Level.OK, "in-memory", "there is no server: messages reach nobody but this one process")]
    try:
        from fast_channels.layers.redis.checkup import check_up
        from fast_channels.layers.redis.layer import RedisLayer
    except ImportError:  # then it is none of those
        return [_stranger(layer)]
    return await check_up(layer) if isinstance(layer, RedisLayer) else [_stranger(layer)]


def _stranger(layer: BaseChannelLayer) -> Finding:
    return Finding(Level.NOTE, "layer", f"{type(layer).__name__} is no layer of this library: nothing is known of it")


def exit_code(found: Sequence[Finding]) -> int:
    """What the findings come to."""
    wrong = {finding.subject for finding in found if finding.level is Level.WRONG}
    return 2 if "connection" in wrong else 1 if wrong else 0


def _as_data(alias: str, layer: BaseChannelLayer, findings: Sequence[Finding]) -> dict[str, Any]:
    return {"alias": alias, "layer": repr(layer), "findings": [asdict(finding) for finding in findings]}


def _print(chosen: Mapping[str, BaseChannelLayer], found: Mapping[str, Sequence[Finding]]) -> None:
    out = console()
    for alias, findings in found.items():
        out.print(Text(f"{alias}: {plain(repr(chosen[alias]))}", "bold"), soft_wrap=True)
        for server, these in groupby(findings, lambda finding: finding.server):
            out.print(Text(f"  {plain(server) or 'the layer'}"), soft_wrap=True)
            show(_table(list(these)))
    counts = Counter(finding.level for findings in found.values() for finding in findings)
    print(f"{counts[Level.WRONG]} wrong, {counts[Level.NOTE]} to note, {counts[Level.OK]} ok")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for width in (2, 5, 13):
        table.add_column(no_wrap=True, min_width=width)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row("  ", Text(finding.level, STYLES[finding.level]), finding.subject, Text(plain(finding.text)))
        if finding.advice:
            table.add_row("", "", "", Text(f"-> {plain(finding.advice)}", "italic"))
    return table
