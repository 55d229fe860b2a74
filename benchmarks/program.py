"""What every measured program shares: parameters in, one JSON line out, and the count of what arrived.

Runs in every environment: standard library only.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["PADDING", "STALL_SECONDS", "Load", "Meter", "Senders", "measure", "run"]

PADDING = "x" * 112
"""Makes a payload of 120 bytes together with its number of eight digits."""

STALL_SECONDS = 5.0
"""Without an arrival for so long, what is still missing counts as lost."""

_BLOCK = bytes(4096)
_NEVER = sys.maxsize


class Load:
    """Numbers the messages, bounds how many are under way, and knows which arrived how often.

    Args:
        window: messages under way at a time, kept below every layer's capacity.
        receivers: how many receive each message.
    """

    def __init__(self, window: int, receivers: int = 1) -> None:
        self.sent = 0
        self.arrived = 0
        self._receivers = receivers
        self._limit = window * receivers
        self._seen = [bytearray(_BLOCK) for _ in range(receivers)]
        self._wake_at = _NEVER
        self._waiting: list[asyncio.Future[None]] = []

    def next_number(self) -> int:
        """The number of the next message, which counts as sent from here on."""
        number = self.sent
        self.sent += 1
        return number

    def arrive(self, number: int, receiver: int = 0) -> None:
        """Message `number` reached `receiver`."""
        seen = self._seen[receiver]
        try:
            seen[number] += 1
        except IndexError:
            seen.extend(bytes(number - len(seen)) + _BLOCK)
            seen[number] = 1
        self.arrived += 1
        if self.arrived >= self._wake_at:
            self._wake()

    @property
    def full(self) -> bool:
        """Whether as many messages are under way as may be."""
        return self.sent * self._receivers - self.arrived >= self._limit

    async def room(self) -> None:
        """Wait until half of the window is free. Call it when `full`."""
        while self.full:
            await self._until_arrived(self.sent * self._receivers - self._limit // 2)

    async def drain(self) -> None:
        """Wait until everything arrived, or nothing more does."""
        while self.arrived < self.sent * self._receivers:
            before = self.arrived
            with suppress(TimeoutError):
                await asyncio.wait_for(self._until_arrived(self.sent * self._receivers), STALL_SECONDS)
            if self.arrived == before:
                return

    def lost(self) -> int:
        """How many of the messages that were sent did not reach a receiver, over all receivers."""
        return sum(self.sent - len(seen[: self.sent]) + seen[: self.sent].count(0) for seen in self._seen)

    def duplicated(self) -> int:
        """How many arrivals were one too many, over all receivers."""
        return self.arrived - (self.sent * self._receivers - self.lost())

    async def _until_arrived(self, total: int) -> None:
        if self.arrived >= total:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wake_at = min(self._wake_at, total)
        await waiter

    def _wake(self) -> None:
        self._wake_at = _NEVER
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class Meter:
    """Wall and CPU seconds between `start()` and `stop()`. The CPU is this process's; a subclass may know better."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    def cpu_seconds(self) -> float:
        """The CPU time used so far."""
        return time.process_time()

    def start(self) -> None:
        """Begin, with nothing left for the garbage collector."""
        gc.collect()
        self.wall, self.cpu = time.perf_counter(), self.cpu_seconds()

    def stop(self) -> None:
        """End."""
        self.wall, self.cpu = time.perf_counter() - self.wall, self.cpu_seconds() - self.cpu

    def result(self, count: int) -> dict[str, float]:
        """The rate and the CPU time of `count` messages."""
        return {"rate": count / self.wall, "cpu_per_message_us": self.cpu / max(count, 1) * 1e6, "count": count}


Senders = Callable[[float], Coroutine[Any, Any, None]]
"""Sends until its argument, a time of `time.perf_counter()`."""


async def measure(load: Load, senders: Senders, seconds: float, meter: Meter | None = None) -> dict[str, Any]:
    """Run `senders` for a fifth of `seconds` to warm up, then for `seconds`, and measure the second time."""
    meter = meter or Meter()
    await senders(time.perf_counter() + seconds / 5)
    await load.drain()
    before = load.arrived
    meter.start()
    await senders(time.perf_counter() + seconds)
    await load.drain()
    meter.stop()
    return meter.result(load.arrived - before) | {"lost": load.lost(), "duplicated": load.duplicated()}


def run(main: Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Run `main` with this program's parameters on the loop that they name, and print its result as one JSON line.

    The process ends at once then: letting go of a thousand connections is not what is measured, and takes some layers
    minutes.
    """
    parameters = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}

    async def print_result() -> None:
        print(json.dumps(await main(parameters)), flush=True)
        os._exit(0)

    with asyncio.Runner(loop_factory=_loop_factory(parameters.get("loop", "asyncio"))) as runner:
        runner.run(print_result())


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name != "uvloop":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
