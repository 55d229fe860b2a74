"""Senders and listeners that go on whatever happens, and write down what they saw."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Self

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.config import Host
from fast_channels.layers.redis.link import Patience
from tests.faults.promise import Listener, Sender, broken
from tests.support.waiting import PATIENCE

__all__ = ["GROUP", "Traffic", "with_patience"]

GROUP = "room"

Publish = Callable[[RedisPubSubChannelLayer, str, dict[str, Any]], Awaitable[None]]


def with_patience(layer: RedisPubSubChannelLayer, patience: Patience) -> RedisPubSubChannelLayer:
    """`layer`, which was not used yet, with links that wait as told."""
    layer._wiring = replace(layer._wiring, patience=patience)
    return layer


async def to_group(layer: RedisPubSubChannelLayer, channel: str, message: dict[str, Any]) -> None:
    await layer.group_send(GROUP, message)


async def to_channel(layer: RedisPubSubChannelLayer, channel: str, message: dict[str, Any]) -> None:
    await layer.send(channel, message)


class Traffic:
    """Two senders, one to a channel and one to its group, and a listener; each side has a layer of its own.

    ```python
    async with Traffic(server.url) as traffic:
        ...break something
    assert traffic.broken() == []
    ```

    Leaving the block stops the senders and goes on until the listener has heard a message that was sent after that, or
    `settle` seconds are over.
    """

    def __init__(
        self,
        listening_at: Host,
        sending_at: Host | None = None,
        *,
        every: float = 0.001,
        settle: float = PATIENCE,
        patience: Patience | None = None,
        publish_to: Mapping[str, Publish] | None = None,
        **options: Any,
    ) -> None:
        self.listener = Listener()
        self.senders = {Sender(name).name: Sender(name) for name in ("group", "channel")}
        options = {"capacity": 1_000_000, **options}
        self.hearing = RedisPubSubChannelLayer(
            [listening_at], on_disconnect=self.listener.down, on_reconnect=self.listener.gap, **options
        )
        self.sending = RedisPubSubChannelLayer([sending_at or listening_at], **options)
        for layer in (self.hearing, self.sending):
            with_patience(layer, patience or Patience(send=2.0))
        self.channel = ""
        self._every = every
        self._settle = settle
        self._publish: Mapping[str, Publish] = publish_to or {"group": to_group, "channel": to_channel}
        self._ending = False

    def broken(self) -> list[str]:
        """The promises that were broken."""
        dropped = sum(self.hearing.statistics().dropped.values())
        return [
            f"{sender.name}: {complaint}"
            for sender in self.senders.values()
            for complaint in broken(sender, self.listener, dropped)
        ]

    def heard(self) -> int:
        """How many messages arrived."""
        return self.listener.count("message")

    def outcomes(self) -> dict[str, int]:
        """How many sends ended how."""
        outcomes = [sent.outcome for sender in self.senders.values() for sent in sender.sent]
        return {outcome: outcomes.count(outcome) for outcome in ("acknowledged", "unknown", "unreachable")}

    async def __aenter__(self) -> Self:
        self.channel = await self.hearing.new_channel()
        await self.hearing.group_add(GROUP, self.channel)
        self._receiving = asyncio.create_task(self._receive())
        self._sending = [asyncio.create_task(self._send(sender)) for sender in self.senders.values()]
        while self.heard() < 2:
            await asyncio.sleep(0.002)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ending = True
        await asyncio.gather(*self._sending)
        if kind is None:
            await asyncio.gather(*(self._end(sender) for sender in self.senders.values()))
        self._receiving.cancel()
        await self.hearing.close()
        await self.sending.close()

    async def _receive(self) -> None:
        while True:
            self.listener.message(await self.hearing.receive(self.channel))

    async def _send(self, sender: Sender) -> None:
        while not self._ending:
            await sender.send(self._publisher(sender))
            await asyncio.sleep(self._every)

    def _publisher(self, sender: Sender) -> Callable[[dict[str, Any]], Awaitable[None]]:
        publish = self._publish[sender.name]

        async def send(message: dict[str, Any]) -> None:
            await publish(self.sending, self.channel, message)

        return send

    async def _end(self, sender: Sender) -> None:
        """Send until something of it arrives: then everything before has arrived, or never will."""
        after, deadline = sender.begun, time.monotonic() + self._settle
        while time.monotonic() < deadline:
            await sender.send(self._publisher(sender))
            for _ in range(100):
                if any(number > after for number in self.listener.numbers(sender)[-3:]):
                    return
                await asyncio.sleep(0.002)


@asynccontextmanager
async def every(seconds: float, act: Callable[[], object]) -> AsyncIterator[None]:
    """Do something again and again while the block runs."""

    async def run() -> None:
        while True:
            act()
            await asyncio.sleep(seconds)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
