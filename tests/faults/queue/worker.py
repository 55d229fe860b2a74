"""A process, or many, that handle the messages of a shared channel, each in its own way."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.faults.queue.ledger import Log
from tests.faults.queue.program import Options, answer, end_with_input, run

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

__all__ = ["HANDLERS", "HandlerFailed", "handle", "work", "work_naively"]


class HandlerFailed(Exception):
    """What a handler raises that is told to."""


Handler = Callable[[Mapping[str, Any], float], Awaitable[None]]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def fast(message: Mapping[str, Any], seconds: float) -> None:
    if message.get("poison"):
        raise HandlerFailed(f"no. {message['number']} cannot be handled")


async def slow(message: Mapping[str, Any], seconds: float) -> None:
    await asyncio.sleep(message.get("seconds", seconds))


async def slow_and_fail(message: Mapping[str, Any], seconds: float) -> None:
    await slow(message, seconds)
    raise HandlerFailed(f"no. {message['number']} cannot be handled, as it turned out late")


async def block(message: Mapping[str, Any], seconds: float) -> None:
    """As no handler should: its whole process stands still."""
    time.sleep(message.get("seconds", seconds))  # noqa: ASYNC251


async def die_inside(message: Mapping[str, Any], seconds: float) -> None:
    die()


async def do_nothing(message: Mapping[str, Any], seconds: float) -> None:
    pass


HANDLERS: dict[str, Handler] = {
    "fast": fast,
    "slow": slow,
    "slow and fail": slow_and_fail,
    "block": block,
    "die inside": die_inside,
    "die before the acknowledgement": do_nothing,
    "die after the acknowledgement": do_nothing,
}


async def handle(log: Log, channel: str, message: Mapping[str, Any], how: str, seconds: float = 0.0) -> None:
    """Handle one message, and write down when."""
    log.write("start", channel, message)
    await HANDLERS[how](message, seconds)
    log.write("end", channel, message)
    if how == "die before the acknowledgement":
        die()


async def work(layer: "BaseChannelLayer", log: Log, channel: str, how: str = "fast", seconds: float = 0.0) -> None:
    """Handle messages for ever."""
    while True:
        try:
            async with layer.delivery(channel) as message:
                await handle(log, channel, message, how, seconds)
        except HandlerFailed:
            continue
        if how == "die after the acknowledgement":
            die()


async def work_naively(
    layer: "BaseChannelLayer", log: Log, channel: str, how: str = "fast", seconds: float = 0.0
) -> None:
    """The protection off: a message is acknowledged before it is handled."""
    while True:
        message = await layer.receive(channel)
        await handle(log, channel, message, how, seconds)


async def one(options: Options) -> None:
    """The life of one process."""
    naively, layer, log = options.how.startswith("naively "), options.make_layer(), options.log()
    working, how = (work_naively, options.how.removeprefix("naively ")) if naively else (work, options.how)
    async with layer, asyncio.TaskGroup() as tasks:
        for channel in options.channels:
            tasks.create_task(working(layer, log, channel, how, options.seconds))


def child(options: Options) -> int:
    """Fork a process that works; what is imported is there already."""
    pid = os.fork()
    if not pid:
        end_with_input()
        asyncio.run(one(options))
    return pid


def main(options: Options) -> None:
    import_module("tests.faults.queue.queues")  # before the forks: each would take its time for it
    names = [f"{options.name}-{number}" for number in range(options.copies)]
    answer({name: child(replace(options, name=name)) for name in names})
    for _ in names:
        os.wait()


if __name__ == "__main__":
    run(main)
