"""Consumers that connect and join a group. One connection, from the call until it is accepted, is one unit.

Afterwards one message to the group must reach every one of them once.
"""

import asyncio
import time
from typing import Any

from benchmarks.program import Load, Meter, run
from benchmarks.sockets import IdleSocket, open_sockets
from benchmarks.workloads.consumer import GROUP, RoomConsumer, register

SETTLE_SECONDS = 0.2
"""How long is waited for a delivery too many."""


async def check(layer: Any, sockets: list[IdleSocket]) -> Load:
    """Send one message to the group and count what arrives."""
    load = Load(1, len(sockets))
    await layer.group_send(GROUP, {"type": "bench.message", "text": str(load.next_number())})
    deadline = time.perf_counter() + 5
    while not all(socket.texts for socket in sockets) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(SETTLE_SECONDS)
    for index, socket in enumerate(sockets):
        for text in socket.texts:
            load.arrive(int(text), index)
    return load


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, application = register(parameters), RoomConsumer.as_asgi()
    at_once, count, meter = parameters["at_once"], parameters["connections"], Meter()
    warm = await open_sockets(application, at_once, at_once)
    meter.start()
    sockets = await open_sockets(application, count, at_once)
    meter.stop()
    load = await check(layer, warm + sockets)
    return meter.result(count) | {"lost": load.lost(), "duplicated": load.duplicated()}


if __name__ == "__main__":
    run(main)
