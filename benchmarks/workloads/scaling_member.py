"""One of the processes over which `workloads.scaling` spreads a group.

Each line on its standard input is a request, each line on its standard output the answer. It ends with its input.
"""

import asyncio
import json
import sys
from typing import Any

from benchmarks.program import Load, run
from benchmarks.workloads.layer import make_layer
from fast_channels.layers import BaseChannelLayer

__all__ = ["GROUP", "Member"]

GROUP = "room"


class Member:
    """Channels of this process in the group, each with a receiver."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._layer = layer
        self._load = Load(1)
        self._receiving: list[asyncio.Task[None]] = []

    async def grow(self, channels: int) -> dict[str, int]:
        """Have so many channels in the group, and begin to count anew."""
        self._load = Load(1, channels)
        while len(self._receiving) < channels:
            channel = await self._layer.new_channel()
            self._receiving.append(asyncio.create_task(self._receive(channel, len(self._receiving))))
            await self._layer.group_add(GROUP, channel)
        return {}

    async def received(self, sent: int) -> dict[str, int]:
        """What became of the messages 0 to `sent`, once all arrived or no more do."""
        self._load.sent = sent
        await self._load.drain()
        return {"count": self._load.arrived, "lost": self._load.lost(), "duplicated": self._load.duplicated()}

    async def _receive(self, channel: str, index: int) -> None:
        while True:
            message = await self._layer.receive(channel)
            self._load.arrive(message["number"], index)

    def leave(self) -> None:
        """Receive no more."""
        for task in self._receiving:
            task.cancel()


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    member = Member(make_layer(parameters))
    answers = {"grow": member.grow, "received": member.received}
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, number = json.loads(line)
        print(json.dumps(await answers[name](number)), flush=True)
    return {}


if __name__ == "__main__":
    run(main)
