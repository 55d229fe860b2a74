"""Who is in which room. Each server process tells a room whom it serves there; pages put the lists together.

No process has to know of the others: what a process said is good until it says something else, or until it has said
nothing for `GOOD_FOR` seconds, as after its death.
"""

from typing import Any

from fast_channels.layers import channel_layers
from sandbox.identity import NAME, identity
from sandbox.rooms import room_group

__all__ = ["GOOD_FOR", "Presence", "presence"]

GOOD_FOR = 4.0
"""Seconds; a list comes once a second, and whenever somebody comes or goes."""


class Presence:
    """The people whom this process serves, by room and by channel."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, str]] = {}

    async def enter(self, room: str, channel: str, name: str) -> None:
        """Somebody came in, or has another name now."""
        self._rooms.setdefault(room, {})[channel] = name
        await self.announce(room)

    async def leave(self, room: str, channel: str) -> None:
        """Somebody is gone; idempotent."""
        members = self._rooms.get(room, {})
        if members.pop(channel, None) is None:
            return
        if not members:
            del self._rooms[room]
        await self.announce(room)

    async def announce(self, room: str) -> None:
        """Tell everybody in `room`, on all servers, whom this process serves there."""
        members = [{"id": channel, "name": name} for channel, name in self._rooms.get(room, {}).items()]
        roster: dict[str, Any] = {"type": "room.roster", **identity(), "members": members, "good_for": GOOD_FOR}
        await channel_layers["chat"].group_send(room_group(room), roster)

    async def announce_all(self) -> None:
        """The same for every room: a sign of life."""
        for room in tuple(self._rooms):
            await self.announce(room)

    def __repr__(self) -> str:
        return f"<Presence in {NAME}: { ({room: len(members) for room, members in self._rooms.items()}) }>"


presence = Presence()
"""That of this process."""
