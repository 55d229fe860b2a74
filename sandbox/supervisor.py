"""Keeps every place in the demo filled: where a process ends, another one is started."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sandbox.processes import Child, ChildFailed, Family, first_of

__all__ = ["Place", "Supervisor"]

Start = Callable[[], Awaitable[Child]]

ATTEMPTS = 3
"""A process that ends by itself this often, each time within `SOON` seconds of its start, is given up."""

SOON = 5.0


@dataclass
class Place:
    """A place, such as `worker 1`, and the process that fills it now."""

    name: str
    start: Start
    child: Child
    started: float = field(default_factory=time.monotonic)
    attempts: int = 0

    @property
    def pid(self) -> int:
        """The id of the process that fills it now."""
        return self.child.pid

    def is_hopeless(self) -> bool:
        """Whether to give up; call it once for each process that has ended. One that was killed is not to blame."""
        by_itself = (self.child.process.returncode or 0) >= 0
        soon = time.monotonic() - self.started < SOON
        self.attempts = self.attempts + 1 if by_itself and soon else 0
        return self.attempts >= ATTEMPTS


class Supervisor:
    """The places of a demo by name. `run()` keeps them filled."""

    def __init__(self, family: Family, commands: asyncio.StreamReader) -> None:
        self.places: dict[str, Place] = {}
        self._family = family
        self._commands = commands

    async def fill(self, name: str, start: Start) -> Place:
        """Start the first process of a new place."""
        return self.take(Place(name, start, await start()))

    def take(self, place: Place) -> Place:
        """Look after a place that is filled already."""
        self.places[place.name] = place
        return place

    def kill(self, name: str) -> None:
        """Kill the process that fills a place; no other process can be named."""
        place = self.places.get(name)
        if place is not None and place.child.process.returncode is None:
            with suppress(ProcessLookupError):
                place.child.process.send_signal(signal.SIGKILL)

    async def run(self) -> None:
        """Keep the places filled, and kill what servers name, for ever.

        Raises:
            ChildFailed: a process ends by itself again and again.
        """
        await first_of(self._obey(), *(self._keep(place) for place in self.places.values()))

    async def _obey(self) -> None:
        while line := await self._commands.readline():
            self.kill(line.decode(errors="replace").strip())

    async def _keep(self, place: Place) -> None:
        while True:
            ended = place.child
            await ended.process.wait()
            if place.is_hopeless():
                raise ChildFailed(ended)
            self._family.forget(ended)
            place.started = time.monotonic()
            place.child = await place.start()
            code = ended.process.returncode
            print(f"{place.name} (pid {ended.pid}) ended with code {code}; now pid {place.pid}", file=sys.stderr)
