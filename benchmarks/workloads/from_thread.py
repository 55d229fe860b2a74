"""One message at a time from a thread with no event loop: how long a send takes, in microseconds.

1.1.0 has one way to do it: a new loop for each send.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.program import PADDING, Load, run
from benchmarks.statistics import send_result
from benchmarks.workloads.layer import make_layer
from fast_channels.layers import BaseChannelLayer

Send = Callable[[str, dict[str, Any]], None]


def in_a_new_loop(layer: BaseChannelLayer) -> Send:
    def send(channel: str, message: dict[str, Any]) -> None:
        asyncio.run(layer.send(channel, message))

    return send


def send_lot(send: Send, channel: str, load: Load, lot: int) -> list[float]:
    """Send so many, and return how long each took, in seconds."""
    times = []
    for _ in range(lot):
        message = {"type": "bench.message", "number": load.next_number(), "text": PADDING}
        began = time.perf_counter()
        send(channel, message)
        times.append(time.perf_counter() - began)
    return times


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, lot = make_layer(parameters), parameters["lot"]
    load, times = Load(lot), list[float]()
    sync = getattr(layer, "sync", None)
    send: Send = sync.send if sync is not None else in_a_new_loop(layer)
    channel = await layer.new_channel()
    deadline = time.perf_counter() + parameters["seconds"]
    while time.perf_counter() < deadline:
        times += await asyncio.to_thread(send_lot, send, channel, load, lot)
        for _ in range(lot):  # only now: receiving would take the interpreter from the thread that sends
            message = await asyncio.wait_for(layer.receive(channel), 5)
            load.arrive(message["number"])
    return send_result(load, times)


if __name__ == "__main__":
    run(main)
