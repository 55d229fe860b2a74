"""A server, a ledger, and whoever takes part: what a scenario is made of."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.redis.config import Host
from tests.faults.queue.ledger import Ledger, Line, Log, Verdict, judge
from tests.faults.queue.owner import listen
from tests.faults.queue.processes import Program, program
from tests.faults.queue.queues import Kind, make_queue
from tests.faults.queue.sender import Sender
from tests.faults.queue.worker import work, work_naively
from tests.support.waiting import PATIENCE

__all__ = ["ROOMY", "Scene", "eventually"]

ROOMY: dict[str, Any] = {"capacity": 1_000_000, "expiry": 600}
"""Options of a layer that is never full and drops nothing as too old, unless a scenario is about that."""


async def eventually(condition: Callable[[], object], what: str = "", timeout: float = PATIENCE) -> float:
    """Wait until `condition()` is true, and return how long that took, in seconds.

    Raises:
        AssertionError: it was not in time.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout, what or f"it did not come true in {timeout:g} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


class Scene:
    """Everything that is started in it ends with it.

    ```python
    async with Scene(server.url, tmp_path) as scene:
        scene.work("w")
        await scene.sender("s").send("jobs")
        await scene.all_handled()
        assert scene.ledger.judge().broken() == []
    ```

    Each sender, worker and listener has a layer of its own, as in a process of its own; programs are processes.
    """

    settle = PATIENCE
    """Seconds without any progress for which what is missing is waited for; less in a twin, where it never comes."""

    def __init__(self, url: Host, folder: Path, queue: Kind = "layer") -> None:
        self.url = url
        self.queue = queue
        folder.mkdir(exist_ok=True)
        self.ledger = Ledger(folder)
        self.members: dict[str, list[str]] = {}
        """The groups of the scene: whom a message to each is owed."""
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End everybody, and everything that they have open. Idempotent."""
        for task in self._tasks:
            task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._stack.aclose()
        for error in done:
            if error is not None and not isinstance(error, asyncio.CancelledError):
                raise error

    def layer(self, url: Host = "", **options: Any) -> BaseChannelLayer:
        """A layer, closed at the end."""
        defaults = ROOMY if self.queue == "layer" else {}
        layer = make_queue(self.queue, url or self.url, **{**defaults, **options})
        self._stack.push_async_callback(layer.close)
        return layer

    def log(self, name: str) -> Log:
        log = Log(self.ledger.folder, name)
        self._stack.callback(log.close)
        return log

    def sender(self, name: str = "s", url: Host = "", **options: Any) -> Sender:
        return Sender(self.layer(url, **options), self.log(name))

    def work(
        self, name: str = "w", channel: str = "jobs", how: str = "fast", seconds: float = 0.0,
        *, url: Host = "", layer: BaseChannelLayer | None = None, naively: bool = False, **options: Any,
    ) -> BaseChannelLayer:  # fmt: skip
        """Let somebody handle the messages of a shared channel; returns the layer that they have."""
        layer = layer or self.layer(url, **options)
        self.begin((work_naively if naively else work)(layer, self.log(name), channel, how, seconds))
        return layer

    async def own(self, name: str = "o", *groups: str, url: Host = "", layer: BaseChannelLayer | None = None) -> str:
        """Let somebody listen on a new channel, a member of `groups`; returns its name."""
        layer = layer or self.layer(url)
        channel = await layer.new_channel()
        for group in groups:
            await layer.group_add(group, channel)
        self.begin(listen(layer, self.log(name), channel))
        return channel

    def run(self, module: str, name: str, **options: Any) -> Program:
        """Start a program with its `Options`."""
        defaults = ROOMY if self.queue == "layer" else {}
        options["layer"] = {**defaults, **options.get("layer", {})}
        folder = str(self.ledger.folder)
        starting = program(module, url=self.url, folder=folder, name=name, queue=self.queue, **options)
        return self._stack.enter_context(starting)

    def begin(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something until the end of the scene. What it raises fails the scene."""
        self._tasks.append(asyncio.create_task(doing))

    async def all_handled(self, destroyed: Callable[[Line], bool] = lambda sent: False) -> None:
        """Wait until everything that was acknowledged is handled, or nothing more is; the judgement is the ledger's."""
        handled, end = 0, time.monotonic() + self.settle
        while time.monotonic() < end:
            began = time.monotonic()
            verdict = judge(self.ledger.lines(), groups=self.members, destroyed=destroyed)
            if not verdict.missing:
                return
            if verdict.handled > handled:
                handled, end = verdict.handled, time.monotonic() + self.settle
            await asyncio.sleep(max(0.05, 10 * (time.monotonic() - began)))  # what is waited for needs the time more

    def judge(self, **options: Any) -> Verdict:
        """What the ledger shows."""
        return self.ledger.judge(groups=self.members, **options)

    async def send(self, sender: Sender, count: int, channel: str = "jobs", **more: Any) -> None:
        """Send some messages, one after the other."""
        for _ in range(count):
            await sender.send(channel, **more)


Scenario = Callable[[Scene], Awaitable[None]]
