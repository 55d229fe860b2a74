"""PUBLISH on one connection, its push on another, one at a time: the floor of a message's latency."""

import asyncio
import time
from typing import Any

from benchmarks.limits.wire import CHANNEL, command, connect
from benchmarks.program import PADDING, Load, run
from benchmarks.statistics import latency_result


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    load, arrivals, departures = Load(1), list[float](), list[float]()
    arrived: asyncio.Future[int]

    def on_push(reply: Any) -> None:
        arrived.set_result(int(reply[2][:8]))

    receiving = await connect(parameters["url"], on_push, subscribe=True)
    sending = await connect(parameters["url"], lambda reply: None, subscribe=False)
    deadline = time.perf_counter() + parameters["seconds"]
    while time.perf_counter() < deadline:
        await asyncio.sleep(parameters["pause"])
        arrived = asyncio.get_running_loop().create_future()
        payload = f"{load.next_number():08d}{PADDING}"
        departures.append(time.perf_counter())
        sending.write(command("PUBLISH", CHANNEL, payload))
        number = await arrived
        arrivals.append(time.perf_counter())
        load.arrive(number)
    receiving.close()
    sending.close()
    return latency_result(load, departures, arrivals)


if __name__ == "__main__":
    run(main)
