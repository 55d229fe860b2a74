"""Handlers that are cancelled when the client disconnects, for consumers that ask for it."""

import asyncio
from collections.abc import Awaitable, Callable

from fast_channels.consumer.pump import is_goodbye
from fast_channels.type_defs import ChannelMessage

__all__ = ["InterruptibleDispatch"]


class InterruptibleDispatch:
    """Calls `dispatch` in the current task so that `interrupt()` ends the handler, and the handler alone.

    A handler that begins after that is cancelled where it first waits; that of the disconnect itself never is. The
    cancellation of the task by somebody else goes through, also when both come together.
    """

    __slots__ = ("_dispatch", "_interrupted", "_running", "_task")

    def __init__(self, dispatch: Callable[[ChannelMessage], Awaitable[None]]) -> None:
        self._dispatch = dispatch
        self._task = asyncio.current_task()
        self._interrupted = False
        self._running = False

    async def __call__(self, message: ChannelMessage) -> None:
        """Dispatch `message`; return when its handler has returned or was interrupted."""
        if self._task is None or (self._interrupted and is_goodbye(message)):
            await self._dispatch(message)
            return
        cancellations = self._task.cancelling()
        self._running = True
        if self._interrupted:
            self._task.get_loop().call_soon(self._cancel)
        try:
            await self._dispatch(message)
        except asyncio.CancelledError:
            if self._running or self._task.cancelling() > cancellations + 1:
                raise
        finally:
            if not self._running:
                self._task.uncancel()
            self._running = False

    def interrupt(self) -> None:
        """Cancel the handler that runs, if one does, and those to come."""
        self._interrupted = True
        self._cancel()

    def forget(self) -> None:
        """Let go of the task, whose exception may have a traceback that leads back here."""
        self._task = None

    def _cancel(self) -> None:
        if self._running and self._task is not None:
            self._running = False
            self._task.cancel()
