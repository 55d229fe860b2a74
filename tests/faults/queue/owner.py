"""A server process: it owns channels, has joined a group with them, and writes down what reaches them."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

from tests.faults.queue.ledger import Log
from tests.faults.queue.program import Options, answer, run

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

__all__ = ["listen"]


async def listen(layer: "BaseChannelLayer", log: Log, channel: str) -> None:
    """Receive on a channel for ever."""
    while True:
        message = await layer.receive(channel)
        log.write("start", channel, message)
        log.write("end", channel, message)


async def main(options: Options) -> None:
    """Tell the names of `count` new channels, then what the layer counted whenever the input has a line."""
    layer, log = options.make_layer(), options.log()
    async with layer:
        channels = [await layer.new_channel() for _ in range(options.count)]
        if options.group:
            for channel in channels:
                await layer.group_add(options.group, channel)
        listening = [asyncio.create_task(listen(layer, log, channel)) for channel in channels]
        answer(channels)
        while await asyncio.to_thread(read_line):
            answer(asdict(layer.statistics()))
        for task in listening:
            task.cancel()


def read_line() -> str:
    try:
        return input() or "\n"
    except EOFError:
        return ""


if __name__ == "__main__":
    run(main)
