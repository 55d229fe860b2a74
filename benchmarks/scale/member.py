"""One of the processes that are measured: it has channels in groups, counts what it receives, and sends when told.

Each line on its standard input is a request, each line on its standard output the answer. It ends with its input.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = ["LAYERS", "Member"]

LAYERS: Final = {"queue": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}

PADDING: Final = "x" * 80


class Member:
    """A process of an application."""

    def __init__(self, options: dict[str, Any]) -> None:
        make = LAYERS[options["layer"]]
        self._layer = make(options["hosts"], cluster=options["cluster"], prefix="scale", capacity=10_000)
        self._received: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, groups: list[str]) -> None:
        """A channel more, in `groups`."""
        channel = await self._layer.new_channel()
        for group in groups:
            await self._layer.group_add(group, channel)
        self._tasks.append(asyncio.create_task(self._receive(channel)))

    async def _receive(self, channel: str) -> None:
        while True:
            message = await self._layer.receive(channel)
            self._received[message["group"]] = self._received.get(message["group"], 0) + 1

    async def send(self, groups: list[str], count: int, at_once: int) -> dict[str, float]:
        """Send `count` messages to the groups in turn, `at_once` at a time; the seconds that took."""
        numbers = iter(range(count))

        async def sender() -> None:
            for number in numbers:
                group = groups[number % len(groups)]
                await self._layer.group_send(group, {"type": "bench", "group": group, "text": PADDING})

        start = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(at_once)))
        return {"seconds": time.perf_counter() - start}

    async def received(self) -> dict[str, int]:
        """How many messages of each group arrived so far."""
        return self._received

    async def cpu(self) -> dict[str, float]:
        """CPU seconds of this process so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"seconds": used.ru_utime + used.ru_stime}

    async def close(self) -> None:
        """Let go of the layer."""
        for task in self._tasks:
            task.cancel()
        await self._layer.close()


async def main() -> None:
    member = Member(json.loads(sys.argv[1]))
    answers: dict[str, Callable[..., Awaitable[Any]]] = {
        "join": member.join, "send": member.send, "received": member.received, "cpu": member.cpu,
    }  # fmt: skip
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        print(json.dumps(await answers[name](*arguments)), flush=True)
    await member.close()


if __name__ == "__main__":
    asyncio.run(main())
