"""PUBLISH in batches and the pushes that come back, over one bare connection. One message is one unit."""

import asyncio
import time
from typing import Any

import hiredis

from benchmarks.limits.wire import CHANNEL, command, connect
from benchmarks.program import PADDING, Load, measure, run


def batch(load: Load, size: int) -> bytes:
    return b"".join(command("PUBLISH", CHANNEL, f"{load.next_number():08d}{PADDING}") for _ in range(size))


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    load = Load(2 * parameters["batch"])

    def on_reply(reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification):
            load.arrive(int(reply[2][:8]))

    wire = await connect(parameters["url"], on_reply, subscribe=True)

    async def sender(deadline: float) -> None:
        while time.perf_counter() < deadline:
            if load.full:
                await load.room()
            wire.write(batch(load, parameters["batch"]))
            await asyncio.sleep(0)

    result = await measure(load, sender, parameters["seconds"])
    wire.close()
    return result


if __name__ == "__main__":
    run(main)
