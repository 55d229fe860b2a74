"""What `fast-channels bench` does with a layer: on channels and groups of its own, which it removes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from uuid import uuid4

from fast_channels.cli.errors import CommandError
from fast_channels.layers import BaseChannelLayer

__all__ = ["GROUP", "NAME", "Measured", "Work", "works_of"]

NAME: Final = "fast-channels-bench"
"""What the names begin with: none of them is anybody else's."""

GROUP: Final = 100
"""Channels of the group."""

SENDERS: Final = 20
"""Senders at a time, and receivers of a shared channel, which are as many handlers of workers."""

PATIENCE: Final = 10.0
"""Seconds after which a message that did not come is lost."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out."""

    layer: str
    work: str
    rate: float
    """Messages, or deliveries, a second."""
    p50: float | None = None
    """Seconds that half of the messages take at most; None where many are under way."""
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something to measure."""

    title: str
    run: Callable[[BaseChannelLayer, float], Coroutine[Any, Any, Measured]]
    """With a layer, for so many seconds."""

    async def measure(self, alias: str, layer: BaseChannelLayer, seconds: float) -> Measured:
        """Run it.

        Raises:
            CommandError: a message was lost.
            FastChannelsError: the layer failed.
        """
        try:
            return replace(await self.run(layer, seconds), layer=alias, work=self.title)
        except TimeoutError:
            text = f"{self.title} on layer {alias!r}: a message did not come in {PATIENCE:g} s"
            raise CommandError(f"{text}; see fast-channels doctor") from None


def works_of(layer: BaseChannelLayer) -> Sequence[Work]:
    """What is measured of a layer."""
    works = [Work("one at a time", _one_at_a_time), Work("one channel", _one_channel)]
    if "delivery" in layer.extensions:  # elsewhere, such a channel is like the others
        works.append(Work("shared channel", _shared_channel))
    return [*works, Work(f"group of {GROUP}", _group)]


# One message after the other


async def _one_at_a_time(layer: BaseChannelLayer, seconds: float) -> Measured:
    taken: list[float] = []
    async with _channel(layer) as channel:
        end = time.perf_counter() + seconds
        while not taken or time.perf_counter() < end:
            began = time.perf_counter()
            async with asyncio.timeout(PATIENCE):
                await layer.send(channel, _message())
                await layer.receive(channel)
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0)  # in memory nothing waits, and signals would not be heard
    taken.sort()
    p50, p99 = (taken[int(len(taken) * share)] for share in (0.5, 0.99))
    return Measured("", "", len(taken) / sum(taken), p50, p99)


# Many under way


async def _one_channel(layer: BaseChannelLayer, seconds: float) -> Measured:
    async with _channel(layer) as channel:
        return await _pump(layer, channel, seconds)


async def _shared_channel(layer: BaseChannelLayer, seconds: float) -> Measured:
    from fast_channels.layers.redis import RedisChannelLayer
    from fast_channels.layers.redis.checkup import remove_channel

    channel = f"{NAME}.{uuid4().hex}"
    try:
        return await _pump(layer, channel, seconds, receivers=SENDERS)
    finally:
        await layer.release_channel(channel)
        if isinstance(layer, RedisChannelLayer):
            await remove_channel(layer, channel)


async def _pump(layer: BaseChannelLayer, channel: str, seconds: float, receivers: int = 1) -> Measured:
    window = max(1, layer.get_capacity(channel) // 2)
    pump = _Pump(lambda: layer.send(channel, _message()), window)
    return await pump.run(seconds, min(SENDERS, window), [partial(layer.receive, channel)] * receivers)


async def _group(layer: BaseChannelLayer, seconds: float) -> Measured:
    group = f"{NAME}.{uuid4().hex}"
    channels = [await layer.new_channel(NAME) for _ in range(GROUP)]
    try:
        for channel in channels:
            await layer.group_add(group, channel)
        window = max(1, min(4, layer.get_capacity(channels[0]) // 4))
        pump = _Pump(lambda: layer.group_send(group, _message()), window, GROUP)
        return await pump.run(seconds, window, [partial(layer.receive, channel) for channel in channels])
    finally:
        for channel in channels:
            await layer.release_channel(channel)


class _Pump:
    """Sends while few enough messages are under way, and counts what comes. One that is lost is under way for ever.

    Args:
        send: sends one message.
        window: how many may be under way.
        copies: how often each is received.
    """

    def __init__(self, send: Callable[[], Awaitable[None]], window: int, copies: int = 1) -> None:
        self._send = send
        self._room = asyncio.Semaphore(window)
        self._copies = copies
        self._sent = 0
        self._received = 0
        self._moved = asyncio.Event()

    async def run(self, seconds: float, senders: int, receivers: Sequence[Callable[[], Awaitable[Any]]]) -> Measured:
        """Deliveries a second.

        Raises:
            TimeoutError: a message did not come.
        """
        began = time.perf_counter()
        sending = [asyncio.ensure_future(self._send_until(began + seconds)) for _ in range(senders)]
        receiving = [asyncio.ensure_future(self._receive(receive)) for receive in receivers]
        try:
            async with asyncio.timeout(seconds + PATIENCE):
                await _first_error([*sending], receiving)
                while self._received < self._sent * self._copies:
                    self._moved.clear()
                    await self._moved.wait()
            return Measured("", "", self._received / (time.perf_counter() - began))
        finally:
            for task in (*sending, *receiving):
                task.cancel()
            await asyncio.gather(*sending, *receiving, return_exceptions=True)

    async def _send_until(self, end: float) -> None:
        while time.perf_counter() < end:
            await self._room.acquire()
            self._sent += 1
            await self._send()

    async def _receive(self, receive: Callable[[], Awaitable[Any]]) -> None:
        while True:
            await receive()
            self._received += 1
            if self._received % self._copies == 0:
                self._room.release()
                self._moved.set()


async def _first_error(work: Sequence["asyncio.Future[None]"], beside: Sequence["asyncio.Future[None]"]) -> None:
    """Wait until all `work` is done, or something fails."""
    waiting = set(work)
    while waiting:
        done, _ = await asyncio.wait({*waiting, *beside}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        waiting -= done


# Names of its own


@asynccontextmanager
async def _channel(layer: BaseChannelLayer) -> AsyncIterator[str]:
    channel = await layer.new_channel(NAME)
    try:
        yield channel
    finally:
        await layer.release_channel(channel)


def _message() -> dict[str, Any]:
    """As large as those of a chat are."""
    return {"type": "bench.message", "text": "x" * 100}
