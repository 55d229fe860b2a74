"""A server process that owns channels is killed: its memberships go, and what was meant for it is counted."""

import signal
import time

import pytest

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene, eventually
from tests.faults.queue.weakened import weaken
from tests.support.waiting import until

CHANNELS = 50
GONE = 15.0
"""Seconds until nothing is left of a process that died."""


class Deserted:
    """An owner that is killed, and what its friends know of it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.observer: BaseChannelLayer = scene.layer()
        self.sender = scene.sender()
        self.groups: object = None
        self.unread = -1

    async def happen(self) -> None:
        """Kill the owner while it is spoken to, and go on speaking to it, beside another one that lives."""
        await self.observer.new_channel()
        owner = self.scene.run("owner", "owner", count=CHANNELS, group="room")
        self.channels = list(await owner.line())
        await self.sender.send(self.channels[0])
        await eventually(lambda: self.scene.ledger.count("end") == 1)
        while self.unread != 0:  # what it has handled, but not told the server yet, would be counted with the lost
            await self.look()
        assert self.groups, "it has a group"
        owner.signal(signal.SIGKILL)
        self.died = time.monotonic()
        for channel in self.channels[:10]:
            await self.sender.send(channel)
            await self.sender.group_send("room")

    async def look(self) -> None:
        seen = await self.observer.inspect()
        self.groups = seen["groups"]
        self.unread = sum(inbox["unread"] for inbox in seen["inboxes"].values())

    async def is_gone(self, within: float) -> bool:
        """Whether its memberships end in time."""
        while self.groups and time.monotonic() < self.died + within:
            await self.look()
        return not self.groups

    def counted(self, reason: str) -> int:
        return sum(layer.statistics().dropped.get(reason, 0) for layer in (self.observer, self.sender.layer))


async def die_and_be_buried(server: ServerProcess, scene: Scene) -> None:
    deserted = Deserted(scene)
    await deserted.happen()
    assert await deserted.is_gone(GONE)
    await until(lambda: deserted.counted("owner_gone") == 20, timeout=GONE)
    assert await deserted.sender.send(deserted.channels[0]) == "acknowledged"
    assert deserted.counted("channel_gone") == 1, "nothing is stored for who is gone"
    await deserted.sender.group_send("room")
    scene.members = {"room": deserted.channels[:1]}
    assert scene.judge(counted=20 + 2).broken() == [], "the last message to the group had no members"


@pytest.mark.faults
async def test_nothing_is_left_of_a_process_that_is_killed_and_what_it_did_not_read_is_counted(
    everywhere: Everywhere,
) -> None:
    await everywhere(die_and_be_buried)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["valkey9"])
async def test_twin_when_nobody_buries_the_dead_their_messages_wait_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(["nobody is buried"], monkeypatch)
    deserted = Deserted(scene)
    await deserted.happen()
    assert not await deserted.is_gone(10)
    assert deserted.counted("owner_gone") == 0
    assert scene.judge().broken() != []
