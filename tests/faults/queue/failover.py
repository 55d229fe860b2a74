"""A master is killed under load, and its replica takes over: what that excuses, and nothing else.

Replication is asynchronous: a master acknowledges first, and tells its replica then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.faults.queue.ledger import Key, Line
from tests.faults.queue.scene import Scene

__all__ = ["Failover"]


class Failover:
    """The death of a master of a scene. Until it is killed, nothing is excused.

    Args:
        scene: with the shared channel `jobs`, which one worker handles.
        loses: whether anything may be lost; not if senders wait for the replica.
    """

    def __init__(self, scene: Scene, *, loses: bool = True) -> None:
        self._scene = scene
        self._loses = loses
        self._safe = self._struck = self.broke = float("inf")

    async def kill(self, replicated: Awaitable[object], kill: Callable[[], object]) -> None:
        """Kill the master, after a moment at which its replica had everything.

        Args:
            replicated: waits until its replica has what it has when this begins.
            kill: returns when it is dead.
        """
        self._safe = time.monotonic()
        await replicated
        self._struck = time.monotonic()
        await asyncio.to_thread(kill)
        self.broke = time.monotonic()

    def may_be_lost(self, sent: Line) -> bool:
        """Whether the old master may have acknowledged it, and have died before it told its replica."""
        return self._loses and sent.at > self._safe and sent.began < self.broke

    def broken(self) -> list[str]:
        """The promises that were broken."""
        verdict = self._scene.judge(destroyed=self.may_be_lost)
        again = verdict.begun_again.keys() - self._under_way() - self._unacknowledged()
        return [
            *verdict.broken(),
            *(f"{key} came again" for key in sorted(again)),
            *(f"{first} came before {second}" for first, second in verdict.inverted),
        ]

    def _under_way(self) -> set[Key]:
        """What the old master may have handed over before it told its sender, and its replica: it is sent again."""
        sent = self._scene.ledger.lines("acknowledged", "unknown")
        return {
            (channel, line.sender, line.number)
            for line in sent
            if line.began < self.broke and line.at > self._struck
            for channel in self._scene.members.get(line.channel, [line.channel])
        }

    def _unacknowledged(self) -> set[Key]:
        """Jobs that were handled, whose end the replica may not have been told."""
        first: dict[Key, Line] = {}
        for line in self._scene.ledger.lines("end", channel="jobs"):
            first.setdefault(line.key, line)
        before = [key for key, line in first.items() if line.at <= self._safe]
        return first.keys() - set(before[:-1])  # the last one tells the master a moment later
