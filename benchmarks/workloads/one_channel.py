"""Several senders, one channel, one receiver, all in this process. One message is one unit."""

import asyncio
import time
from typing import Any

from benchmarks.program import PADDING, Load, measure, run
from benchmarks.workloads.layer import make_layer
from fast_channels.layers import BaseChannelLayer


async def receiver(layer: BaseChannelLayer, channel: str, load: Load) -> None:
    while True:
        message = await layer.receive(channel)
        load.arrive(message["number"])


async def sender(layer: BaseChannelLayer, channel: str, load: Load, deadline: float, yields: bool) -> None:
    while time.perf_counter() < deadline:
        if load.full:
            await load.room()
        await layer.send(channel, {"type": "bench.message", "number": load.next_number(), "text": PADDING})
        if yields:
            await asyncio.sleep(0)


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, load = make_layer(parameters), Load(parameters["window"])
    channel = await layer.new_channel()
    receiving = asyncio.create_task(receiver(layer, channel, load))

    async def senders(deadline: float) -> None:
        yields = parameters.get("yields", False)
        await asyncio.gather(*(sender(layer, channel, load, deadline, yields) for _ in range(parameters["senders"])))

    result = await measure(load, senders, parameters["seconds"])
    receiving.cancel()
    return result


if __name__ == "__main__":
    run(main)
