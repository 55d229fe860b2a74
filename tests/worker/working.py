"""Workers that run beside a test, and consumers that tell what they do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.worker import run_worker

__all__ = ["Job", "Jobs", "job", "stopped", "working"]


class Jobs:
    """What consumers were given, and what they wait for."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[int] = []
        self.consumers: list[AsyncConsumer] = []
        self.running = 0
        self.most_at_once = 0
        self.may_end = asyncio.Event()

    def consumer(self) -> Any:
        """An application."""
        return Job.as_asgi(jobs=self)


class Job(AsyncConsumer):
    """Does, fails, or waits until it may end."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    async def job_do(self, message: Any) -> None:
        self.begin(message)
        self.jobs.done.append(message["number"])

    async def job_fail(self, message: Any) -> None:
        self.begin(message)
        raise ZeroDivisionError("as it was told")

    async def job_wait(self, message: Any) -> None:
        self.begin(message)
        self.jobs.running += 1
        self.jobs.most_at_once = max(self.jobs.most_at_once, self.jobs.running)
        try:
            await self.jobs.may_end.wait()
        finally:
            self.jobs.running -= 1
        self.jobs.done.append(message["number"])

    async def job_wait_and_fail(self, message: Any) -> None:
        await self.job_wait(message)
        raise ZeroDivisionError("after all")

    async def job_refuse_to_end(self, message: Any) -> None:
        self.begin(message)
        while not self.jobs.may_end.is_set():
            try:
                await self.jobs.may_end.wait()
            except asyncio.CancelledError:
                continue

    async def job_cancel(self, message: Any) -> None:
        self.begin(message)
        raise asyncio.CancelledError

    def begin(self, message: Any) -> None:
        self.jobs.begun.append(message["number"])
        self.jobs.consumers.append(self)


def job(kind: str, number: int = 0) -> dict[str, Any]:
    return {"type": f"job.{kind}", "number": number}


@asynccontextmanager
async def working(
    application: Any, channels: list[str] | None, layer: InMemoryChannelLayer, **options: Any
) -> AsyncIterator["asyncio.Task[None]"]:
    """A worker that runs within the block."""
    task = asyncio.ensure_future(run_worker(application, channels, layer=layer, **options))
    try:
        yield task
    finally:
        await stopped(task)


async def stopped(task: "asyncio.Task[None]") -> None:
    """Cancel a worker, in a hurry, and wait until it has ended."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
