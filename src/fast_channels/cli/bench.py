"""`fast-channels bench`."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich import progress

from fast_channels.cli.errors import CommandError, UsageError, next_step
from fast_channels.cli.loading import (
    LayersFunction,
    Prefix,
    RedisUrl,
    call_setup,
    find_layers,
    hush,
    layer_on_server,
    url_of,
)
from fast_channels.cli.measuring import NAME, Measured, works_of
from fast_channels.cli.plot import Bar, svg
from fast_channels.cli.running import run_with
from fast_channels.cli.terminal import console, json_text, print_table
from fast_channels.exceptions import ServerRefused
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, has_layers

__all__ = ["bench"]

QUEUE = "queue"
PUBSUB = "pub/sub"

STEP = 0.1
"""Seconds between two movements of the progress bar."""


def bench(
    layer: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="The layer to measure; all that are registered without.")
    ] = None,
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    queue: Annotated[bool, typer.Option("--queue", help="Only the queue on that server.")] = False,
    pubsub: Annotated[bool, typer.Option("--pubsub", help="Only the pub/sub layer on that server.")] = False,
    seconds: Annotated[float, typer.Option(min=0.05, max=600, help="How long each thing is measured.")] = 2.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Draw the rates, as FILE.svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; times in seconds.")] = False,
) -> None:
    """Measure your layers on your server: messages a second, and how long one takes.

    One process sends and receives. With a URL, the queue, pub/sub and the in-memory layer are measured, or one of them:
    a user of the server may be allowed no more. What is sent goes to channels and groups of its own, which are removed;
    but it takes the server's time from the application.

    Exit codes:

    - 0: measured
    - 1: a message was lost, the server failed, or FILE cannot be written
    - 2: no such layer, or FILE is no .svg
    - 130: interrupted, and removed nevertheless
    """
    _check(plot)
    call_setup(layers)
    hush()
    chosen = _chosen(layer, redis_url, prefix, {QUEUE: queue, PUBSUB: pubsub})
    results = run_with(_measure(chosen, seconds), *chosen.values())
    if plot is not None:
        _draw(plot, results, seconds)
    if as_json:
        print(json_text([asdict(measured) for measured in results]))
    else:
        _print(results)


def _check(plot: Path | None) -> None:
    """Before a minute is spent on measuring."""
    if plot is None:
        return
    if plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot draws SVG: name a file that ends with .svg, not {plot.name}")
    if not plot.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {plot.absolute().parent}: make it, or name another FILE")


def _chosen(
    alias: str | None, redis_url: str | None, prefix: str | None, only: Mapping[str, bool]
) -> Mapping[str, BaseChannelLayer]:
    wanted = [name for name, is_wanted in only.items() if is_wanted]
    if has_layers() or alias is not None:
        if wanted:
            raise UsageError("--queue and --pubsub are for a server (--redis-url URL): choose a layer with --layer")
        return find_layers(alias, redis_url, prefix)
    url = url_of(redis_url)
    own = prefix or f"{NAME}-{uuid4().hex[:12]}"
    on_server = {name: layer_on_server(url, own, pubsub=name == PUBSUB) for name in wanted or (PUBSUB, QUEUE)}
    return on_server if wanted else {"in-memory": InMemoryChannelLayer(), **on_server}


async def _measure(chosen: Mapping[str, BaseChannelLayer], seconds: float) -> list[Measured]:
    results: list[Measured] = []
    total = sum(len(works_of(layer)) for layer in chosen.values())
    async with _progress(total * seconds) as (bar, task):
        for alias, layer in chosen.items():
            for work in works_of(layer):
                bar.update(task, description=f"{alias}: {work.title}", completed=len(results) * seconds)
                with _naming(alias, chosen):
                    results.append(await work.measure(alias, layer, seconds))
    return results


@contextmanager
def _naming(alias: str, chosen: Mapping[str, BaseChannelLayer]) -> Iterator[None]:
    """Say on which layer the server refuses its user something, and how to measure what that user may use."""
    try:
        yield
    except ServerRefused as error:
        if has_layers():
            advice = "; measure another one with --layer" if len(chosen) > 1 else ""
        else:
            advice = "; a user with fewer rights measures with --queue or --pubsub, and the --prefix that it has"
        if not advice or not error.answer.startswith("NOPERM"):
            raise
        raise CommandError(f"{alias}: {error}{advice}{next_step(error)}") from error


@asynccontextmanager
async def _progress(total: float) -> AsyncIterator[tuple[progress.Progress, progress.TaskID]]:
    """A bar that moves with the time, where there is a terminal."""
    out = console(sys.stderr)
    columns = (progress.BarColumn(), progress.TimeRemainingColumn(), progress.TextColumn("{task.description}"))
    with progress.Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("", total=total)
        moving = asyncio.ensure_future(_move(bar, task))
        try:
            yield bar, task
        finally:
            moving.cancel()


async def _move(bar: progress.Progress, task: progress.TaskID) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(STEP)
        now = time.perf_counter()
        bar.advance(task, now - last)
        last = now


def _print(results: Sequence[Measured]) -> None:
    columns = {"layer": "left", "work": "left", "a second": "right", "p50": "right", "p99": "right"}
    rows = [(each.layer, each.work, f"{each.rate:,.0f}", _ms(each.p50), _ms(each.p99)) for each in results]
    print_table(columns, rows, folded={"layer": 20})


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.2f} ms"


def _draw(path: Path, results: Sequence[Measured], seconds: float) -> None:
    bars = [Bar(f"{each.layer}, {each.work}", each.rate, f"{each.rate:,.0f}") for each in results]
    picture = svg("Messages or deliveries a second", f"each measured for {seconds:g} s; more is better", bars)
    try:
        path.write_text(picture)
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): name another file") from None
