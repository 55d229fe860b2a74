"""The lease of this process, and the burial of those whose lease is over."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.redis.foreign import is_plain, shown
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.scripts import BURY, LEASE_SCRIPT, run
from fast_channels.layers.redis.wiring import LEASE, QueueWiring

__all__ = ["Undertaker"]

logger = logging.getLogger("fast_channels.redis")

AT_ONCE: Final = 16
"""Clients that one sign of life buries at most."""


class Undertaker:
    """Keeps the leases of clients on each server, and removes the inboxes and memberships of those that have none.

    Args:
        client: of this event loop.
        others: clients whose inboxes it took over.
        link_to: the link to the server of a key.
        links: the links to all servers that keep leases.
    """

    def __init__(
        self,
        client: str,
        others: Callable[[], Iterable[str]],
        wiring: QueueWiring,
        link_to: Callable[[bytes], Commands],
        links: Callable[[], Sequence[Commands]],
    ) -> None:
        self._client = client
        self._others = others
        self._wiring = wiring
        self._link_to = link_to
        self._links = links
        self._keys = wiring.keys.leases()

    def __repr__(self) -> str:
        return f"<Undertaker {self._client}>"

    async def keep_lease(self, link: Commands) -> None:
        """Give a sign of life to one server, and bury whom it names.

        Raises:
            FastChannelsError: the server could not be told.
        """
        for other in set(self._others()) - {self._client}:
            await run(link, LEASE_SCRIPT, self._keys, other, LEASE, 0)
        for client in await run(link, LEASE_SCRIPT, self._keys, self._client, LEASE, AT_ONCE):
            if is_plain(name := shown(client)):
                await self._bury(name)
            await self._strike_off(link, client)

    async def _bury(self, client: str) -> None:
        keys = self._wiring.keys.inbox(client)
        found = await run(self._link_to(keys.meta), BURY, keys, "")
        if not found:
            return  # it lives, or somebody else was faster
        epoch, left, groups = found
        if left:
            self._wiring.counters.drop("owner_gone", left)
        logger.log(
            logging.WARNING if left or groups else logging.INFO,  # who lost nothing need not be looked at
            "the process of inbox %s is gone: %d messages for it are lost, it leaves %d groups",
            *(client, left, len(groups)),
        )
        member = f"i:{client}:{shown(epoch)}"
        leaving = []
        for group in map(shown, groups):
            key = self._wiring.keys.group(group)
            leaving.append(self._link_to(key).call(b"ZREM", key, member))
        await asyncio.gather(*leaving, return_exceptions=True)  # what is left ends when somebody sends to the group

    async def _strike_off(self, link: Commands, client: bytes) -> None:
        """Forget its lease. A client that lives has it again with its next sign of life."""
        ends, runs = self._keys
        await link.call(b"ZREM", ends, client)
        await link.call(b"HDEL", runs, client)

    async def end_lease(self) -> None:
        """This client is closed: nobody need look for it."""
        for link in self._links():
            if link.connection is not None:
                with suppress(FastChannelsError, TimeoutError):
                    async with asyncio.timeout(1):
                        await self._strike_off(link, self._client.encode())
