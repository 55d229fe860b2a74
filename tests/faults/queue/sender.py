"""Somebody who sends, and writes down what became of each message."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.faults.queue.ledger import Event, Log
from tests.faults.queue.program import Options, answer, end_with_input, run

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

__all__ = ["Sender"]


class Sender:
    """Numbers its messages. It never sends one again: that is the layer's business."""

    def __init__(self, layer: "BaseChannelLayer", log: Log) -> None:
        self.layer = layer
        self.log = log
        self.begun = 0
        self.outcomes: dict[Event, int] = {}

    async def send(self, channel: str, **more: Any) -> Event:
        """Send the next message to a channel."""
        return await self._send(channel, False, more)

    async def group_send(self, group: str, **more: Any) -> Event:
        """Send the next message to a group."""
        return await self._send(group, True, more)

    async def _send(self, to: str, group: bool, more: dict[str, Any]) -> Event:
        self.begun += 1
        message = {"type": "job", "from": self.log.by, "number": self.begun, **more}
        began = time.monotonic()
        outcome = await self._outcome(to, message, group)
        self.log.write(outcome, to, message, began)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        return outcome

    async def _outcome(self, to: str, message: dict[str, Any], group: bool) -> Event:
        from fast_channels.exceptions import ChannelFull, OutcomeUnknown, ServerRefused, ServerUnreachable

        send = self.layer.group_send if group else self.layer.send
        try:
            await send(to, message)
        except ChannelFull:
            return "full"
        except OutcomeUnknown:
            return "unknown"
        except ServerUnreachable:
            return "unreachable"
        except ServerRefused:
            return "refused"
        return "acknowledged"

    @asynccontextmanager
    async def load(
        self, channel: str, pause: float = 0.001, *, group: bool = False, **more: Any
    ) -> AsyncIterator[None]:
        """Send again and again while the block runs. The last one is not interrupted."""
        ending = False

        async def run() -> None:
            while not ending:
                await self._send(channel, group, more)
                await asyncio.sleep(pause)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            ending = True
            await task


async def main(options: Options) -> None:
    """Send `count` messages from each of `copies` tasks, when the input has a line; then tell what became of them."""
    layer, log = options.make_layer(), options.log()
    async with layer:
        sender = Sender(layer, log)
        answer("ready")
        await asyncio.to_thread(input)
        end_with_input()

        async def send_all() -> None:
            for number in range(options.count):
                await sender.send(options.channels[number % len(options.channels)])
                await asyncio.sleep(options.seconds)

        await asyncio.gather(*(send_all() for _ in range(options.copies)))
        answer(sender.outcomes)


if __name__ == "__main__":
    run(main)
