"""Layers that behave as a test needs them to."""

import asyncio

from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer


class Foreign:
    """A layer of another library: it has what Django Channels asks of a layer, and no more."""

    def __init__(self) -> None:
        self.inner = InMemoryChannelLayer()
        self.new_channel = self.inner.new_channel
        self.receive = self.inner.receive
        self.send = self.inner.send
        self.group_add = self.inner.group_add
        self.group_discard = self.inner.group_discard
        self.group_send = self.inner.group_send
        self.close = self.inner.close


class Old(BaseChannelLayer):
    """A layer of this library's contract that cannot release channels."""

    def __init__(self) -> None:
        super().__init__()
        self.discarded: list[tuple[str, str]] = []

    async def group_discard(self, group: str, channel: str) -> None:
        self.discarded.append((group, channel))


class Gated(InMemoryChannelLayer):
    """Waits in one of its methods until it is let go.

    Attributes:
        reached: set when the method was called.
        gate: lets the call go on when it is set.
    """

    def __init__(self, method: str = "") -> None:
        super().__init__()
        self.method = method
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()

    async def _pass(self, method: str) -> None:
        if method == self.method:
            self.reached.set()
            await self.gate.wait()

    async def new_channel(self, prefix: str = "specific") -> str:
        await self._pass("new_channel")
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        await self._pass("group_add")
        await super().group_add(group, channel)

    async def release_channel(self, channel: str) -> None:
        await self._pass("release_channel")
        await super().release_channel(channel)
