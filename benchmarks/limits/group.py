"""One message encoded once, queued for many receivers, woken and decoded by each: the floor of a delivery."""

import asyncio
import time
from typing import Any

from benchmarks.limits.box import Box, encode
from benchmarks.program import PADDING, Load, measure, run


async def receiver(box: Box, load: Load, index: int) -> None:
    while True:
        message = await box.get()
        load.arrive(message["number"], index)


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    boxes = [Box() for _ in range(parameters["channels"])]
    load = Load(parameters["window"], len(boxes))
    receiving = [asyncio.create_task(receiver(box, load, index)) for index, box in enumerate(boxes)]

    async def sender(deadline: float) -> None:
        while time.perf_counter() < deadline:
            if load.full:
                await load.room()
            entry = encode({"type": "bench.message", "number": load.next_number(), "text": PADDING})
            for box in boxes:
                box.put(entry)

    result = await measure(load, sender, parameters["seconds"])
    for task in receiving:
        task.cancel()
    return result


if __name__ == "__main__":
    run(main)
