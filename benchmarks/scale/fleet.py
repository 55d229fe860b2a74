"""Many members, and what their servers count."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from benchmarks.environments import ROOT

__all__ = ["Count", "Fleet", "count"]

LINE: Final = 16 * 1024 * 1024
ASK: Final = b"INFO everything\r\n"


@dataclass(frozen=True)
class Count:
    """What servers counted, together. Differences are what a time took."""

    commands: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    cpu: float = 0.0
    """Seconds."""

    def __sub__(self, other: "Count") -> "Count":
        return Count(
            self.commands - other.commands,
            self.bytes_in - other.bytes_in,
            self.bytes_out - other.bytes_out,
            self.cpu - other.cpu,
        )

    @property
    def at_least_nothing(self) -> "Count":
        """Without what is below zero: a difference of noisy counts that is smaller than their noise."""
        return Count(*(max(0.0, value) for value in vars(self).values()))

    def __add__(self, other: "Count") -> "Count":
        return self - (Count() - other)

    def __truediv__(self, by: float) -> "Count":
        return Count(self.commands / by, self.bytes_in / by, self.bytes_out / by, self.cpu / by)


_asked: dict[str, Count] = {}
"""What the questions themselves were, for each server: they are taken off."""


async def count(urls: Sequence[str]) -> Count:
    """What the servers at `urls` counted since they were started."""
    total = Count()
    for url in urls:
        total += await _count_one(url)
    return total


async def _count_one(url: str) -> Count:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(ASK)
        size = int((await reader.readline())[1:])
        text = (await reader.readexactly(size + 2)).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    asked = _asked.get(url, Count())
    _asked[url] = asked + Count(commands=1, bytes_in=len(ASK), bytes_out=size)
    counted = Count(
        commands=float(values["total_commands_processed"]),
        bytes_in=float(values["total_net_input_bytes"]),
        bytes_out=float(values["total_net_output_bytes"]),
        cpu=float(values["used_cpu_user"]) + float(values["used_cpu_sys"]),
    )
    return counted - asked


class Fleet:
    """Processes that each run `benchmarks.scale.member`, all asked at once."""

    def __init__(self, size: int, **options: Any) -> None:
        self._size = size
        self._options = options
        self._processes: list[asyncio.subprocess.Process] = []

    def __len__(self) -> int:
        return self._size

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.scale.member", json.dumps(self._options)]
        pipe = asyncio.subprocess.PIPE
        for _ in range(self._size):
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, limit=LINE, stdin=pipe, stdout=pipe)
            self._processes.append(process)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        await asyncio.gather(*(process.wait() for process in self._processes))

    async def ask(self, index: int, name: str, *arguments: Any) -> Any:
        """Ask one of them."""
        process = self._processes[index]
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a member without pipes")
        process.stdin.write(json.dumps([name, arguments]).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"member {index} ended")
        return json.loads(line)

    async def ask_all(self, name: str, *arguments: Any) -> list[Any]:
        """Ask all of them."""
        return await asyncio.gather(*(self.ask(index, name, *arguments) for index in range(self._size)))

    async def arrived(self, group: str, messages: int) -> None:
        """Return when every member has received so many messages of `group`."""
        async with asyncio.timeout(60):
            while any(got.get(group, 0) < messages for got in await self.ask_all("received")):
                await asyncio.sleep(0.02)
