"""What one process asks of another: to make a channel that it owns join or leave a group."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from fast_channels import names
from fast_channels.exceptions import FastChannelsError, InvalidNameError, OutcomeUnknown
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.envelope import Control
from fast_channels.layers.redis.link import Patience

__all__ = ["Memberships", "Requests"]

logger = logging.getLogger("fast_channels.redis")

ASK_AGAIN = 0.1
"""Seconds until the owner of a channel that did not answer is asked again, twice as long each time."""

ANSWERS = 10_000
"""Requests of other processes that are worked on at a time; what comes on top is dropped, and its sender times out."""


class Memberships(Protocol):
    """Who carries requests out."""

    async def join(self, group: str, channel: str) -> None:
        """Make a channel of this loop a member of `group`."""
        ...

    async def leave(self, group: str, channel: str) -> None:
        """Take a channel of this loop out of `group`."""
        ...


class Requests:
    """The requests of one event loop to others, and those of others to it.

    Args:
        client: who asks, and gets the answers.
        memberships: carries out what others ask.
        send: brings a control entry to a client.
    """

    def __init__(
        self,
        client: str,
        memberships: Memberships,
        send: Callable[[str, Control], Awaitable[object]],
        patience: Patience,
        counters: Counters,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._memberships = memberships
        self._send = send
        self._patience = patience
        self._counters = counters
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._last = 0

    def __repr__(self) -> str:
        return f"<Requests of {self._client}: {len(self._asked)} asked, {len(self._answers)} being answered>"

    async def ask(self, op: str, group: str, channel: str) -> None:
        """Ask the owner of `channel` to make it join or leave `group`; returns when the owner has done so.

        Until it answers, it is asked again: an owner that is gone cannot be told from one that reconnects.

        Raises:
            OutcomeUnknown: the owner did not answer in time.
        """
        self._last += 1
        done = self._asked[self._last] = self._loop.create_future()
        control = Control(op, self._last, self._client, group, channel)
        pause = ASK_AGAIN
        try:
            async with asyncio.timeout(self._patience.send):
                while not done.done():
                    await self._send(names.client_of(channel), control)
                    await asyncio.wait({done}, timeout=pause)
                    pause *= 2
        except TimeoutError:
            raise OutcomeUnknown(f"the owner of channel {channel}", "it did not answer; is its process gone?") from None
        finally:
            self._asked.pop(control.id, None)

    async def probe(self) -> None:
        """Send an answer to ourselves that nobody asked for; returns when it has come, through the server."""
        self._last += 1
        id = self._last
        came = self._asked[id] = self._loop.create_future()
        try:
            await self._send(self._client, Control("done", id, self._client))
            await came
        finally:
            self._asked.pop(id, None)

    def handle(self, control: Control) -> None:
        """An answer, or a request of another process.

        Raises:
            InvalidNameError: it is about no group, or no channel of one process, or from nobody.
            ValueError: it asks for nothing that there is.
        """
        if control.op == "done":
            done = self._asked.get(control.id)
            if done is not None and not done.done():
                done.set_result(None)
            return
        if control.op not in ("join", "leave"):
            raise ValueError("a request for nothing that there is")
        names.check_group_name(control.group)
        names.check_channel_name(control.channel)
        if not names.is_specific(control.channel):
            raise InvalidNameError("a request about a channel that has no owner")
        names.check_group_name(control.client)
        if len(self._answers) >= ANSWERS:
            self._counters.drop("inbox_full")
            return
        answer = self._loop.create_task(self._obey(control))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _obey(self, control: Control) -> None:
        try:
            if control.op == "join":
                await self._memberships.join(control.group, control.channel)
            else:
                await self._memberships.leave(control.group, control.channel)
            await self._send(control.client, Control("done", control.id, self._client))
        except FastChannelsError as error:  # who asked hears nothing and times out
            logger.warning("inbox %s could not %s: %s", self._client, control.op, error)

    def close(self) -> None:
        """Work on no requests any more."""
        for answer in tuple(self._answers):
            answer.cancel()
