"""For consumers that handle several events of the layer at a time."""

import asyncio
from typing import TYPE_CHECKING, Any

from fast_channels.exceptions import StopConsumer
from fast_channels.layers.reader import EMPTY, ChannelReader

if TYPE_CHECKING:
    from fast_channels.consumer.connection import Connection

__all__ = ["ConcurrentEvents"]


class ConcurrentEvents:
    """Takes events of the layer beside the frames, and handles each in a task, at most `limit` at a time.

    Events begin in their order. An event stays in the channel until there is a task for it.
    """

    __slots__ = ("_connection", "_limit", "_listener", "_listening", "_reader", "_tasks")

    def __init__(self, connection: "Connection", reader: ChannelReader, limit: int) -> None:
        self._connection = connection
        self._reader = reader
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        self._listening = True

    def __repr__(self) -> str:
        return f"<ConcurrentEvents: {len(self._tasks)} of {self._limit} running>"

    def listen(self) -> None:
        """Begin to take events, unless that was done or `stop_listening()` was called."""
        if self._listener is None and self._listening:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    def stop_listening(self) -> None:
        """Take no more events. Those that are being handled go on."""
        self._listening = False
        self._reader.close()
        if self._listener is not None and self._listener is not asyncio.current_task():
            self._listener.cancel()

    async def drain(self, *, cancel: bool) -> None:
        """Wait until the events that were taken are handled; with `cancel`, cut that short."""
        if cancel:
            self._cancel_tasks()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Take no more events and cancel the handling of those that were taken."""
        self.stop_listening()
        self._cancel_tasks()

    @property
    def closed(self) -> bool:
        """Whether no task is left."""
        return not self._tasks and (self._listener is None or self._listener.done())

    async def wait_closed(self, timeout: float) -> None:
        """Wait until no task is left, at most `timeout` seconds."""
        tasks = self._tasks if self._listener is None else {*self._tasks, self._listener}
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def forget(self) -> None:
        """Let go of the task that listened, whose coroutine leads back here."""
        self._listener = None

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _listen(self) -> None:
        while self._listening:
            try:
                if len(self._tasks) >= self._limit:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    continue
                message = self._reader.take()
                if message is EMPTY:
                    await self._wait()
                else:
                    self._begin(message)
            except Exception as error:
                if not await self._settle(error, EMPTY):
                    return

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._reader.add_waiter(waiter)
        try:
            await waiter
        finally:
            self._reader.discard_waiter(waiter)

    def _begin(self, message: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, message: Any) -> None:
        try:
            await self._connection.consumer.dispatch(message)
        except StopConsumer:
            self._connection.end()
        except Exception as error:
            await self._settle(error, message)

    async def _settle(self, error: Exception, message: Any) -> bool:
        """As the dispatcher does; what ends the consumer there ends it here. False if it ends."""
        connection = self._connection
        try:
            goes_on = await connection.settle(error, message)
        except Exception as failure:
            connection.end(failure)
            return False
        finally:
            del error
        if not goes_on:
            connection.end()
        return goes_on
