"""Senders that yield after each message, one queue, one receiver: encode, wake, decode, and nothing else."""

import asyncio
import time
from typing import Any

from benchmarks.limits.box import Box, encode
from benchmarks.program import PADDING, Load, measure, run


async def receiver(box: Box, load: Load) -> None:
    while True:
        message = await box.get()
        load.arrive(message["number"])


async def sender(box: Box, load: Load, deadline: float) -> None:
    while time.perf_counter() < deadline:
        if load.full:
            await load.room()
        box.put(encode({"type": "bench.message", "number": load.next_number(), "text": PADDING}))
        await asyncio.sleep(0)


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    load, box = Load(parameters["window"]), Box()
    receiving = asyncio.create_task(receiver(box, load))

    async def senders(deadline: float) -> None:
        await asyncio.gather(*(sender(box, load, deadline) for _ in range(parameters["senders"])))

    result = await measure(load, senders, parameters["seconds"])
    receiving.cancel()
    return result


if __name__ == "__main__":
    run(main)
