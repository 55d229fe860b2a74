"""The dead letters of the queue."""

from collections.abc import Callable, Sequence

from fast_channels import names
from fast_channels.layers.dead_letters import DeadLetter
from fast_channels.layers.mailbox import SKIPPED
from fast_channels.layers.redis.foreign import number, shown
from fast_channels.layers.redis.hub import Hub
from fast_channels.layers.redis.keys import SharedKeys
from fast_channels.layers.redis.scripts import REVIVE, run
from fast_channels.layers.redis.survey import things
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["Graveyard"]


class Graveyard:
    """The dead letters of a queue layer. See `DeadLetters`. Every method may raise what sending raises."""

    def __init__(self, here: Callable[[], Hub], wiring: QueueWiring) -> None:
        self._here = here
        self._wiring = wiring

    def __repr__(self) -> str:
        return f"<Graveyard of {self._wiring.keys.prefix!r}>"

    async def channels(self) -> dict[str, int]:
        """The channels that have dead letters, with how many."""
        counts = {}
        servers = self._here().servers
        for link in await servers.all_links():
            for kind, name in await things(link, self._wiring.keys):
                dead = self._wiring.keys.shared(name).dead
                if kind == "c" and (count := await servers.link_for(link, dead).call(b"ZCARD", dead)):
                    counts[name] = count
        return dict(sorted(counts.items()))

    async def list(self, channel: str, start: int = 0, count: int = 100) -> Sequence[DeadLetter]:
        """Up to `count` dead letters of `channel`, oldest first, from the one at place `start`."""
        keys = self._keys(channel)
        if count < 1:
            return []
        link = self._here().link_to(keys.dead)
        ids = await link.call(b"ZRANGE", keys.dead, start, start + count - 1)
        letters = [await self._letter(channel, id) for id in ids]
        return [letter for letter in letters if letter is not None]

    async def get(self, channel: str, id: str) -> DeadLetter | None:
        """The dead letter `id` of `channel`, or None."""
        return await self._letter(channel, id.encode())

    async def send_again(self, channel: str, *ids: str) -> int:
        """Put dead letters back into their channel, as if they had never been delivered; all of them without `ids`.

        Capacity is not asked. Returns how many there were.
        """
        return await self._revive(channel, "again", ids)

    async def drop(self, channel: str, *ids: str) -> int:
        """Forget dead letters; all of the channel without `ids`. Returns how many there were."""
        return await self._revive(channel, "drop", ids)

    async def _revive(self, channel: str, what: str, ids: Sequence[str]) -> int:
        keys = self._keys(channel)
        revived = (keys.ready, keys.payloads, keys.states, keys.dead, keys.reports)
        wake = self._wiring.keys.wake(channel)
        return int(await run(self._here().link_to(keys.dead), REVIVE, revived, what, wake, *ids))

    async def _letter(self, channel: str, id: bytes) -> DeadLetter | None:
        keys = self._keys(channel)
        link = self._here().link_to(keys.dead)
        died_at = await link.call(b"ZSCORE", keys.dead, id)
        if died_at is None:
            return None
        report = await link.call(b"HGET", keys.reports, id)
        payload = await link.call(b"HGET", keys.payloads, id)
        deliveries, _, why = (report or b"").partition(b":")
        reason, _, error = why.decode(errors="replace").partition(":")
        message = self._wiring.decode(payload or b"", self._wiring.keys.channel_context(channel))
        return DeadLetter(
            channel=channel,
            id=shown(id),
            message=None if message is SKIPPED else message,
            reason=reason,
            deliveries=number(deliveries),
            error=error,
            died_at=float(died_at) / 1000,
        )

    def _keys(self, channel: str) -> SharedKeys:
        names.check_channel_name(channel)
        return self._wiring.keys.shared(channel)
