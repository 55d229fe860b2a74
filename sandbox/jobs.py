"""Background jobs, as a worker handles them. Each step is written down: whoever goes on begins where it stopped."""

import asyncio
import os
import random
from itertools import cycle
from typing import Any
from uuid import uuid4

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import channel_layers
from sandbox import store
from sandbox.identity import JOBS, NAME
from sandbox.store import in_thread

__all__ = ["JOB_WATCHERS", "MOST_JOBS", "JobConsumer", "start_jobs"]

JOB_WATCHERS = "job-watchers"
"""The group, on the layer "queue", of the pages that show jobs."""

MOST_JOBS = 6
"""Jobs that are started at once."""

STEPS = 30

titles = cycle(("Resize the pictures", "Send the newsletter", "Index the archive", "Count the votes", "Bake the bread"))


async def start_jobs(count: int, seconds: float | None = None) -> list[str]:
    """Put `count` jobs of `seconds` each into the queue, and return their ids; about 8 s each if nothing is said."""
    return [await _start(seconds or random.uniform(6, 10)) for _ in range(count)]


async def _start(seconds: float) -> str:
    identifier = uuid4().hex
    job = await in_thread(store.add_job, identifier, next(titles), seconds, STEPS)
    await tell(job)
    await channel_layers["queue"].send(JOBS, {"type": "job.run", "id": identifier})
    return identifier


async def tell(job: dict[str, Any]) -> None:
    """Tell every page how far a job is."""
    await channel_layers["queue"].group_send(JOB_WATCHERS, {"type": "job.changed", "job": job})


class JobConsumer(AsyncConsumer):
    """In a worker: handles one job.

    Its message stays on the server until the handler has returned. If this process dies first, another one gets it.
    """

    async def job_run(self, message: dict[str, Any]) -> None:
        """Handle `job.run`, perhaps for the second time."""
        job = await in_thread(store.job, message["id"])
        me = f"{NAME}, pid {os.getpid()}"
        for step in range(job["step"], job["steps"]):
            await tell(await in_thread(store.change_job, job["id"], state="running", step=step, worker=me))
            await asyncio.sleep(job["seconds"] / job["steps"])  # the work
        await tell(await in_thread(store.change_job, job["id"], state="done", step=job["steps"]))
