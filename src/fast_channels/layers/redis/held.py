"""Messages of a shared channel that are held here: kept under a lease, acknowledged, given back."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fast_channels.exceptions import FastChannelsError, OutcomeUnknown, ServerRefused
from fast_channels.layers.redis.foreign import shown
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.scripts import ACKNOWLEDGE, GIVE_BACK, KEEP, run
from fast_channels.layers.redis.wiring import DEAD_LETTERS, LEASE, QueueWiring

__all__ = ["TRY_AGAIN", "Held", "Holdings", "patiently"]

logger = logging.getLogger("fast_channels.redis")

TRY_AGAIN: Final = 0.5
"""Seconds until what the server refused is tried again."""

LONGEST_DELAY: Final = 60.0
"""Seconds before a redelivery, at most."""

Act = Callable[[], Coroutine[Any, Any, Any]]

_lives = itertools.count(1)
_deliveries = itertools.count(1)


class Held:
    """A message of a shared channel that this process holds."""

    __slots__ = ("acknowledged", "deliveries", "id", "is_handed_over", "message", "number", "payload")

    def __init__(self, id: bytes, deliveries: int, payload: bytes, message: Any) -> None:
        self.id = id
        self.deliveries = deliveries
        """How often it was delivered, with this time."""
        self.payload = payload
        self.message = message
        self.number = next(_deliveries)
        """Tells this delivery from all others."""
        self.acknowledged: asyncio.Task[bool] | None = None
        """The acknowledgement, once it is under way; its result is whether the message was still ours."""
        self.is_handed_over = False
        """Whether a handler has it, or had it: then it does not expire any more."""

    def __repr__(self) -> str:
        return f"<Held {self.id.decode()}, delivery {self.deliveries}>"

    @property
    def place(self) -> int:
        """What orders the messages of a channel."""
        return int(self.id)


class Holdings:
    """What one receiving end of a shared channel holds, as the server knows it.

    It has a lease in a name of its own: what is left when it is closed is not held for ever by who is opened next.

    Args:
        channel: whose messages they are.
        client: whose receiving end it is.
        link: to the server of the channel.
    """

    def __init__(self, channel: str, client: str, wiring: QueueWiring, link: Commands) -> None:
        self.name = f"{client}:{next(_lives)}"
        self.held: set[Held] = set()
        self._channel = channel
        self._keys = wiring.keys.shared(channel)
        self._wake_address = wiring.keys.wake(channel)
        self._wiring = wiring
        self._link = link

    def __repr__(self) -> str:
        return f"<Holdings {self.name} of {self._channel!r}: {len(self.held)}>"

    async def acknowledge(self, held: Held) -> bool:
        """The message was handled. False if it was not ours any more. Waits for the server as long as it takes."""
        keys = (self._keys.payloads, self._keys.states, self._keys.held)
        ours = b"1"

        async def act() -> Any:
            nonlocal ours
            try:
                return await run(self._link, ACKNOWLEDGE, keys, self.name, held.id)
            except OutcomeUnknown:
                ours = b"1g"  # if it is gone now, this was why
                raise

        is_ours = await self._insist(act) in ours
        self.held.discard(held)
        if not is_ours:
            logger.warning(
                "a message of channel %s was delivered again while it was handled here: its lease was over",
                self._channel,
            )
        return is_ours

    async def give_back(self, held: Held, reason: str = "", error: str = "") -> None:
        """Give it back. See `SharedChannel.give_back`. Waits for the server as long as it takes."""
        await self._insist(lambda: self._give_back(held, reason, error))

    async def _give_back(self, held: Held, reason: str, error: str) -> None:
        keys = self._keys
        restore = b"" if held.acknowledged is None else held.payload  # acknowledged for a receiver that was cancelled
        restored = self._wiring.keys.answered(keys.ready, f"{self.name}:{held.number}")
        most = {"": 0, "max_deliveries": self._wiring.max_deliveries}.get(reason, 1)
        delay = min(LONGEST_DELAY, self._wiring.retry_delay * 2 ** min(held.deliveries - 1, 30)) if reason else 0.0
        given = (*keys[:5], keys.dead, keys.reports, keys.marks, restored)
        how = (round(delay * 1000), most, DEAD_LETTERS, reason, error, self._wake_address, restore)
        result = await run(self._link, GIVE_BACK, given, self.name, held.id, *how, int(held.is_handed_over))
        self.held.discard(held)
        if result == b"d":
            self._wiring.counters.dead_lettered += 1
            logger.error(
                "a message of channel %s is a dead letter after %d deliveries (%s): %s",
                *(self._channel, held.deliveries, reason, error),
            )

    async def end(self) -> None:
        """Nothing is held any more, nor will be: nobody need look for who held it.

        Raises:
            FastChannelsError: the server could not be told; it forgets by itself, in a day.
        """
        for key in (self._keys.leases, self._keys.requests):
            await self._link.call(b"HDEL", key, self.name)

    async def _insist(self, act: Act) -> Any:
        """Do it until the server has answered: what is held stays ours, and nothing is lost by waiting."""
        complained = False
        while True:
            try:
                return await patiently(act)
            except ServerRefused as error:
                if not complained:
                    complained = True
                    logger.warning("channel %s: %s; trying again", self._channel, error)
                await asyncio.sleep(TRY_AGAIN)

    async def keep(self) -> int:
        """Keep the lease, and give back what those hold whose lease is over. Returns how many messages wait.

        Raises:
            FastChannelsError: the server could not be told.
        """
        arguments = (self.name, LEASE, self._wiring.max_deliveries, DEAD_LETTERS, self._wake_address)
        waiting, _, given_back, dead, *holders = await run(self._link, KEEP, self._keys[:9], *arguments)
        if holders:
            names = ", ".join(map(shown, holders))
            logger.warning(
                "channel %s: %d messages that dead workers held are given back, %d are dead letters now (%s)",
                *(self._channel, given_back, dead, names),
            )
            self._wiring.counters.dead_lettered += dead
        return int(waiting)


async def patiently(act: Act) -> Any:
    """What the server answers, however long that takes.

    Raises:
        ServerRefused: it does not do it.
    """
    while True:
        try:
            return await act()
        except ServerRefused:
            raise
        except FastChannelsError:
            await asyncio.sleep(0)  # the link waits for its server: once more
