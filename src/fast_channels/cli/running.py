"""An event loop for a command, which ends in order: also on Ctrl-C and on SIGTERM."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from fast_channels.layers import BaseChannelLayer

__all__ = ["run_with"]

Result = TypeVar("Result")


def run_with(work: Coroutine[Any, Any, Result], *layers: BaseChannelLayer) -> Result:
    """What `work` returns, in an event loop of its own. `layers` are closed by then, however it ends.

    Raises:
        KeyboardInterrupt, asyncio.CancelledError: it was interrupted by SIGINT or SIGTERM.
    """
    return asyncio.run(_work(work, layers))


async def _work(work: Coroutine[Any, Any, Result], layers: tuple[BaseChannelLayer, ...]) -> Result:
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError):  # not every platform has signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel_once, task)
    async with AsyncExitStack() as stack:
        for layer in layers:
            await stack.enter_async_context(layer)
        return await work


def _cancel_once(task: "asyncio.Task[Any]") -> None:
    """End `task`, and leave it in peace while it ends: some send the signal twice, to a process and to its group."""
    if not task.cancelling():
        task.cancel()
