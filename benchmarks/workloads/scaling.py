"""What one `group_send` takes through the server, for groups of several sizes over the same processes.

Bytes and commands are the server's own count, less what it counts in the same time with nothing sent.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.program import PADDING, run
from benchmarks.statistics import median
from benchmarks.workloads.layer import make_layer
from benchmarks.workloads.scaling_member import GROUP
from fast_channels.layers import BaseChannelLayer

__all__ = ["COUNTED", "Members", "Server"]

COUNTED: Final = {
    "bytes_in": "total_net_input_bytes",
    "bytes_out": "total_net_output_bytes",
    "commands": "total_commands_processed",
}
BATCHES: Final = 5
BATCH: Final = 4
SETTLE_SECONDS: Final = 0.2
"""How long is waited for a delivery too many."""

Traffic = dict[str, float]


class Server:
    """What the server at `url` counted so far, over a bare connection."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)

    async def counted(self) -> dict[str, int]:
        self._writer.write(b"INFO stats\r\n")
        size = int((await self._reader.readline())[1:])
        text = (await self._reader.readexactly(size + 2)).decode()
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: int(values[key]) for name, key in COUNTED.items()}

    async def during(self, work: Callable[[], Awaitable[Any]]) -> Traffic:
        """What is counted while `work` runs, less what is counted in the same time without."""
        start, before = time.perf_counter(), await self.counted()
        await work()
        seconds, middle = time.perf_counter() - start, await self.counted()
        await asyncio.sleep(seconds)
        after = await self.counted()
        return {name: 2 * middle[name] - before[name] - after[name] for name in COUNTED}


class Members:
    """Processes with the group's channels."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._command = (sys.executable, "-m", "benchmarks.workloads.scaling_member", json.dumps(parameters))
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, count: int) -> None:
        pipe = asyncio.subprocess.PIPE
        for _ in range(count):
            self._processes.append(await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe))

    async def ask(self, name: str, number: int) -> list[dict[str, int]]:
        """The answer of each."""
        return await asyncio.gather(*(self._ask(process, name, number) for process in self._processes))

    async def _ask(self, process: asyncio.subprocess.Process, name: str, number: int) -> dict[str, int]:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([name, number]).encode() + b"\n")
        answer: dict[str, int] = json.loads(await process.stdout.readline())
        return answer


async def one_size(layer: BaseChannelLayer, members: Members, server: Server) -> tuple[Traffic, list[dict[str, int]]]:
    """What one message takes, the median of some batches; and what each process got of all."""
    sent, batches = 0, list[Traffic]()

    async def batch() -> None:
        nonlocal sent
        for _ in range(BATCH):
            await layer.group_send(GROUP, {"type": "bench.message", "number": sent, "text": PADDING})
            sent += 1
        await members.ask("received", sent)

    for _ in range(BATCHES):
        batches.append(await server.during(batch))
    await asyncio.sleep(SETTLE_SECONDS)
    traffic = {name: median([counted[name] for counted in batches]) / BATCH for name in COUNTED}
    return traffic, await members.ask("received", sent)


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer, server, members = make_layer(parameters), Server(parameters["url"]), Members(parameters)
    await server.connect()
    await members.start(parameters["processes"])
    traffic, arrivals = dict[int, Traffic](), list[dict[str, int]]()
    for size in parameters["sizes"]:
        await members.ask("grow", size // parameters["processes"])
        traffic[size], got = await one_size(layer, members, server)
        arrivals += got
    small, *_, large = (counted["bytes_in"] + counted["bytes_out"] for counted in traffic.values())
    total = {name: sum(got[name] for got in arrivals) for name in ("count", "lost", "duplicated")}
    return {"growth": large / small, "group_send": traffic} | total


if __name__ == "__main__":
    run(main)
