"""One worker process: takes jobs and lines from the shared channels of the queue.

Two jobs at once; of a job, a bar moves in every page. `fast-channels worker sandbox.worker:router` does the same, but
reports nothing.
"""

import asyncio
import logging

from fast_channels.layers import channel_layers
from fast_channels.routing import ChannelNameRouter
from fast_channels.worker import run_worker
from sandbox.identity import JOBS, LINES
from sandbox.jobs import JobConsumer
from sandbox.layers import setup_channel_layers
from sandbox.lines import LineConsumer
from sandbox.reports import report_for_ever

__all__ = ["router", "work"]

router = ChannelNameRouter({JOBS: JobConsumer, LINES: LineConsumer})


async def work() -> None:
    """Work until SIGTERM. What is not done then is given back at once."""
    async with channel_layers.lifespan():
        reporting = asyncio.create_task(report_for_ever("worker"))
        try:
            await run_worker(router, layer="queue", concurrency=2, grace=0.5, handle_signals=True)
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    setup_channel_layers()
    asyncio.run(work())
