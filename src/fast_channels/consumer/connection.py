"""The life of one connection: frames of the client and events of the layer, handed to the consumer one at a time.

The server's task is the dispatcher: it awaits the handlers itself. The only other task is the pump, which reads from
the client. The layer has no task: the dispatcher takes what its reader holds, and waits for both with one future.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fast_channels.consumer.concurrent import ConcurrentEvents
from fast_channels.consumer.pump import FramePump
from fast_channels.consumer.sending import ClientGone
from fast_channels.exceptions import StopConsumer
from fast_channels.layers.reader import EMPTY, ChannelReader
from fast_channels.type_defs import ASGIReceiveCallable, ChannelMessage

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

__all__ = ["Connection"]

logger = logging.getLogger("fast_channels.consumer")

TURNS_BETWEEN_YIELDS = 64
"""Dispatches in a row, without ever waiting, after which other tasks get a turn."""

GOODBYE_SECONDS = 0.2
"""How long the server has to say with which code the client left, once sending has failed."""

LEAVE_SECONDS = 5.0
"""How long leaving the groups may take."""


ABNORMAL = 1006
"""The close code of a connection that broke, or that was cut off on this side."""

NO_CODE = 1005
"""The close code of a client that gave none."""


class _NoReader:
    """A channel on which nothing ever arrives: there is no layer, or the consumer has left."""

    def take(self) -> Any:
        return EMPTY

    def add_waiter(self, waiter: "asyncio.Future[None]") -> None:
        pass

    def discard_waiter(self, waiter: "asyncio.Future[None]") -> None:
        pass

    def close(self) -> None:
        pass


NO_READER: Final = _NoReader()


class Connection:
    """Runs one consumer for one client.

    Order: frames are dispatched in order, and so are the layer's events; between the two, they take turns. A disconnect
    is dispatched after the frames before it; from the moment it is seen, no event of the layer is.
    """

    __slots__ = (
        "_goodbye_timer",
        "_handler_runs",
        "_left",
        "_loop",
        "_task",
        "_waiter",
        "close_code",
        "consumer",
        "events",
        "pump",
        "reader",
    )

    def __init__(self, consumer: "AsyncConsumer", reader: ChannelReader | None) -> None:
        self.consumer = consumer
        self.pump = FramePump()
        self.reader: ChannelReader = NO_READER if reader is None else reader
        self.events: ConcurrentEvents | None = None
        self.close_code: int | None = None
        self._left = reader is None
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._handler_runs = False
        self._task: asyncio.Task[Any] | None = None
        self._goodbye_timer: asyncio.TimerHandle | None = None
        if reader is not None and consumer.concurrent_events > 1:
            self.events = ConcurrentEvents(self, reader, consumer.concurrent_events)
            self.reader = NO_READER

    def __repr__(self) -> str:
        return f"<Connection of {type(self.consumer).__name__}: {self.pump!r}>"

    # Dispatching

    async def run(self, receive: ASGIReceiveCallable) -> None:
        """Dispatch what comes until the consumer ends; an exception that it does not handle is raised."""
        dispatch = self._dispatcher()
        pump = self.pump
        pump.start(receive, self._hang_up)
        frames = pump.frames
        after_frame = False
        turns = 0
        while True:
            message: Any = EMPTY
            try:
                if after_frame or not frames:
                    after_frame = False
                    message = self.reader.take()
                if message is not EMPTY:
                    await dispatch(message)
                elif frames:
                    after_frame = True
                    message = pump.take()
                    await dispatch(message)
                elif pump.over:
                    pump.raise_failure()
                    return
                else:
                    turns = 0
                    await self._something_new()
                turns += 1
                if turns >= TURNS_BETWEEN_YIELDS:
                    turns = 0
                    await asyncio.sleep(0)
            except StopConsumer:
                return
            except Exception as error:
                if not await self.settle(error, message):
                    return

    def _something_new(self) -> "asyncio.Future[None]":
        """A future that a frame resolves, or an event. One for each wait: nothing has to be taken back after it."""
        pump, reader = self.pump, self.reader
        if pump.waiter is None and self._waiter is not None:
            reader.discard_waiter(self._waiter)  # the pump woke the one before: the reader may have it still
        self._waiter = pump.waiter = waiter = self._loop.create_future()
        reader.add_waiter(waiter)
        return waiter

    async def settle(self, error: Exception, message: Any) -> bool:
        """What follows from `error`, met while `message` was handled; False if the consumer ends without an error.

        EMPTY stands for no message: the client or the layer failed, not a handler.
        """
        consumer = self.consumer
        try:
            if isinstance(error, ClientGone):
                return await self._client_gone()
            if message is EMPTY:
                await consumer._layer_failed(error)
            else:
                await consumer.on_error(error)
                await consumer._survived(message)
        except ClientGone:
            return await self._client_gone()
        except StopConsumer:
            return False
        finally:
            del error  # the traceback would hold this frame, and this frame the error
        return True

    def _dispatcher(self) -> Callable[[ChannelMessage], Awaitable[None]]:
        """The consumer's `dispatch`, or what the consumer opted for in its place."""
        consumer = self.consumer
        if consumer.cancel_handler_on_disconnect:
            self._task = asyncio.current_task()
        if self.events is not None:
            if consumer.scope.get("type") != "websocket":
                self.events.listen()
            return self._dispatch_and_listen
        return consumer.dispatch if self._task is None else self._dispatch_interruptibly

    async def _dispatch_and_listen(self, message: ChannelMessage) -> None:
        """A WebSocket's events wait until `connect()` has run, as they do when handlers run one at a time."""
        try:
            await (self.consumer.dispatch(message) if self._task is None else self._dispatch_interruptibly(message))
        finally:
            if self.events is not None:
                self.events.listen()

    async def _dispatch_interruptibly(self, message: ChannelMessage) -> None:
        """Let `_interrupt()` cancel the handler, and tell that from a cancellation of the whole consumer."""
        task = self._task
        if task is None:
            return
        cancelling = task.cancelling()
        self._handler_runs = True
        try:
            await self.consumer.dispatch(message)
        except asyncio.CancelledError:
            if self._handler_runs or task.cancelling() > cancelling + 1:
                raise
        finally:
            if not self._handler_runs:
                task.uncancel()
            self._handler_runs = False

    def _interrupt(self) -> None:
        if self._handler_runs and self._task is not None:
            self._handler_runs = False
            self._task.cancel()

    # Leaving

    @property
    def said_goodbye(self) -> bool:
        """Whether the consumer's `disconnect()` was called, or left out by a handler of its own for the disconnect."""
        return self.pump.goodbye_taken or self.consumer._disconnected

    @property
    def closed_by_client(self) -> int | None:
        """The code with which the client left; None while it is there."""
        goodbye = self.pump.goodbye
        return None if goodbye is None else goodbye.get("code", NO_CODE)

    async def leave(self) -> None:
        """Leave all groups and take no more events. Idempotent; what goes wrong is logged."""
        self._stop_listening()
        if self._left:
            return
        consumer = self.consumer
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await consumer._release_channel()
        except Exception:
            logger.warning("%s could not leave its groups", type(consumer).__name__, exc_info=True)
        self._left = True

    def end(self, failure: BaseException | None = None) -> None:
        """Make `run` return, or raise `failure`, as soon as the handler that runs has returned."""
        self.pump.end(failure=failure or StopConsumer())

    def stop(self) -> None:
        """Take nothing more from the client nor from the layer; cancel what runs beside the dispatcher."""
        self.pump.stop()
        self._stop_listening()
        if self.events is not None:
            self.events.cancel()
        if self._goodbye_timer is not None:
            self._goodbye_timer.cancel()
            self._goodbye_timer = None

    @property
    def left(self) -> bool:
        """Whether the groups are left."""
        return self._left

    @property
    def settled(self) -> bool:
        """Whether the groups are left and no task is left either."""
        return self._left and self.pump.closed and (self.events is None or self.events.closed)

    async def wait_closed(self) -> None:
        """Leave the groups and wait until the tasks that `stop()` cancelled have ended."""
        await self.leave()
        await self.pump.wait_closed(LEAVE_SECONDS)
        if self.events is not None:
            await self.events.wait_closed(LEAVE_SECONDS)

    def _stop_listening(self) -> None:
        reader, self.reader = self.reader, NO_READER
        reader.close()
        if self.events is not None:
            self.events.stop_listening()

    async def _hang_up(self) -> None:
        """What happens as soon as the client's disconnect is seen, whatever the dispatcher is doing."""
        self._stop_listening()
        self._interrupt()
        await self.leave()
        if self.events is not None:
            await self.events.drain(cancel=self._task is not None)

    async def _client_gone(self) -> bool:
        """Sending failed. The server knows the code: it gets a moment to say it, then the disconnect is made up."""
        if self.consumer.goodbye_type is None:
            return False
        await self.leave()
        if self._goodbye_timer is None and not self.pump.over:
            self._goodbye_timer = self._loop.call_later(GOODBYE_SECONDS, self._say_goodbye)
        return True

    def _say_goodbye(self) -> None:
        if not self.pump.hanging_up:
            self.pump.end({"type": self.consumer.goodbye_type, "code": ABNORMAL, "reason": None})
