"""Handlers that are cancelled when the client disconnects, for consumers that ask for it."""

import asyncio
from collections.abc import Awaitable, Callable

from fast_channels.type_defs import ChannelMessage

__all__ = ["InterruptibleDispatch"]


class InterruptibleDispatch:
    """Calls `dispatch` in the current task so that `interrupt()` ends the handler, and the handler alone.

    The cancellation of the task by somebody else goes through, also when both come together.
    """

    __slots__ = ("_dispatch", "_running", "_task")

    def __init__(self, dispatch: Callable[[ChannelMessage], Awaitable[None]]) -> None:
        self._dispatch = dispatch
        self._task = asyncio.current_task()
        self._running = False

    async def __call__(self, message: ChannelMessage) -> None:
        """Dispatch `message`; return when its handler has returned or was interrupted."""
        cancellations = self._cancellations()
        self._running = True
        try:
            await self._dispatch(message)
        except asyncio.CancelledError:
            if self._running or self._cancellations() > cancellations + 1:
                raise
        finally:
            if not self._running and self._task is not None:
                self._task.uncancel()
            self._running = False

    def interrupt(self) -> None:
        """Cancel the handler that runs, if one does. The task must be another one than that of the caller."""
        if self._running and self._task is not None:
            self._running = False
            self._task.cancel()

    def forget(self) -> None:
        """Let go of the task, whose exception may have a traceback that leads back here."""
        self._task = None

    def _cancellations(self) -> int:
        return 0 if self._task is None else self._task.cancelling()
