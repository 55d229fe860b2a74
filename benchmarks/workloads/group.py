"""A group of many channels of this process, each with a receiver. One delivery is one unit.

There are as many senders as messages may be under way: with one, every delivery wakes its receiver; with several, they
come in bursts.
"""

import asyncio
import time
from typing import Any

from benchmarks.program import PADDING, Load, measure, run
from benchmarks.workloads.layer import make_layer
from fast_channels.layers import BaseChannelLayer

GROUP = "room"


async def receiver(layer: BaseChannelLayer, channel: str, load: Load, index: int) -> None:
    while True:
        message = await layer.receive(channel)
        load.arrive(message["number"], index)


async def members(layer: BaseChannelLayer, load: Load, count: int) -> list[asyncio.Task[None]]:
    tasks = []
    for index in range(count):
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        tasks.append(asyncio.create_task(receiver(layer, channel, load, index)))
    return tasks


async def sender(layer: BaseChannelLayer, load: Load, deadline: float) -> None:
    while time.perf_counter() < deadline:
        if load.full:
            await load.room()
        await layer.group_send(GROUP, {"type": "bench.message", "number": load.next_number(), "text": PADDING})


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, load = make_layer(parameters), Load(parameters["window"], parameters["channels"])
    receiving = await members(layer, load, parameters["channels"])

    async def senders(deadline: float) -> None:
        await asyncio.gather(*(sender(layer, load, deadline) for _ in range(parameters["window"])))

    result = await measure(load, senders, parameters["seconds"])
    for task in receiving:
        task.cancel()
    return result


if __name__ == "__main__":
    run(main)
