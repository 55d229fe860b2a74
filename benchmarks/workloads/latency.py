"""One message at a time on an idle machine: from before `send()` until `receive()` has it, in microseconds."""

import asyncio
import time
from typing import Any

from benchmarks.program import PADDING, Load, run
from benchmarks.statistics import latency_result
from benchmarks.workloads.layer import make_layer
from fast_channels.layers import BaseChannelLayer


async def receiver(layer: BaseChannelLayer, channel: str, load: Load, arrivals: list[float]) -> None:
    while True:
        message = await layer.receive(channel)
        arrivals.append(time.perf_counter())
        load.arrive(message["number"])


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, load, arrivals, departures = make_layer(parameters), Load(1), list[float](), list[float]()
    channel = await layer.new_channel()
    receiving = asyncio.create_task(receiver(layer, channel, load, arrivals))
    deadline = time.perf_counter() + parameters["seconds"]
    while time.perf_counter() < deadline:
        await asyncio.sleep(parameters["pause"])
        number = load.next_number()
        departures.append(time.perf_counter())
        await layer.send(channel, {"type": "bench.message", "number": number, "text": PADDING})
        await load.drain()
    receiving.cancel()
    return latency_result(load, departures, arrivals)


if __name__ == "__main__":
    run(main)
