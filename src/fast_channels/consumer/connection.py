"""The life of one connection: frames of the client and events of the layer, handed to the consumer one at a time.

The dispatcher awaits the handlers itself, in a task below the server's. The other task is the pump, which reads from
the client. The layer has no task: the dispatcher takes what its reader holds, and waits for both with one future.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fast_channels.consumer.channel import NO_READER, release_channel
from fast_channels.consumer.codes import ABNORMAL, NO_CODE
from fast_channels.consumer.concurrent import ConcurrentEvents
from fast_channels.consumer.interruption import InterruptibleDispatch
from fast_channels.consumer.pump import FramePump
from fast_channels.consumer.sending import ClientGone
from fast_channels.exceptions import StopConsumer
from fast_channels.layers.reader import EMPTY, ChannelReader
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelMessage, ChannelScope

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

__all__ = ["Connection"]

logger = logging.getLogger("fast_channels.consumer")

TURNS_BETWEEN_YIELDS = 64
"""Dispatches in a row, without ever waiting, after which other tasks get a turn."""

GOODBYE_SECONDS = 0.2
"""How long the server has to say that and how the client left, when that is clear already."""

LEAVE_SECONDS = 5.0
"""How long leaving the groups may take."""


class Connection:
    """Runs one consumer for one client.

    Order: frames are dispatched in order, and so are the layer's events; between the two, they take turns. A disconnect
    is dispatched after the frames before it; from the moment it is seen, no event of the layer is. Once the consumer
    has closed the connection, frames that the client had sent before it knew are dropped.
    """

    scope_type: ClassVar[str | None] = None
    """The type of scope that consumers of this kind serve; None for any."""

    goodbye_type: ClassVar[str | None] = None
    """The type of the message that tells them that their client left, if they have a handler for one."""

    __slots__ = (
        "_disconnected",
        "_goodbye_timer",
        "_interruptible",
        "_loop",
        "_waiter",
        "close_code",
        "consumer",
        "events",
        "is_cut",
        "left",
        "pump",
        "reader",
        "task",
    )

    def __init__(self, consumer: "AsyncConsumer", reader: ChannelReader | None) -> None:
        self.consumer = consumer
        self.pump = FramePump()
        self.reader: ChannelReader = NO_READER if reader is None else reader
        self.events: ConcurrentEvents | None = None
        self.close_code: int | None = None
        self.left = reader is None
        self.task: asyncio.Task[None] | None = None  # in which the consumer runs, or ends
        self.is_cut = False
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._disconnected = False
        self._interruptible: InterruptibleDispatch | None = None
        self._goodbye_timer: asyncio.TimerHandle | None = None
        if reader is not None and consumer.concurrent_events > 1:
            self.events = ConcurrentEvents(self, reader, consumer.concurrent_events)
            self.reader = NO_READER

    def __repr__(self) -> str:
        return f"<Connection of {type(self.consumer).__name__}: {self.pump!r}>"

    @classmethod
    def check_scope(cls, scope: ChannelScope, consumer: "AsyncConsumer") -> None:
        """Raise ValueError if `scope` is of another protocol than the consumer serves."""
        kind = scope.get("type")
        if cls.scope_type is not None and kind != cls.scope_type and kind in ("http", "lifespan", "websocket"):
            raise ValueError(f"{type(consumer).__name__} serves {cls.scope_type!r} connections, not {kind!r}")

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
        try:
            if isinstance(error, ClientGone):
                return await self._client_gone()
            if message is EMPTY:
                if not await self.survives_without_layer(error):
                    raise error
            else:
                await self.consumer.on_error(error)
                await self.survived(message)
        except ClientGone:
            return await self._client_gone()
        except StopConsumer:
            return False
        finally:
            del error  # the traceback would hold this frame, and this frame the error
        return True

    def _dispatcher(self) -> Callable[[ChannelMessage], Awaitable[None]]:
        """The consumer's `dispatch`, with what the consumer opted for around it."""
        consumer = self.consumer
        dispatch = consumer._fc_dispatcher()
        if consumer.cancel_handler_on_disconnect or self.events is not None:
            dispatch = self._interruptible = InterruptibleDispatch(dispatch)
        if self.events is None:
            return dispatch
        if consumer.scope.get("type") != "websocket":
            self.events.listen()
            return dispatch
        return partial(self._dispatch_then_listen, dispatch, self.events)

    @staticmethod
    async def _dispatch_then_listen(
        dispatch: Callable[[ChannelMessage], Awaitable[None]], events: ConcurrentEvents, message: ChannelMessage
    ) -> None:
        """Events wait until `connect()` has run, as they do when handlers run one at a time."""
        try:
            await dispatch(message)
        finally:
            events.listen()

    # What kinds of consumers differ in

    @property
    def groups(self) -> Sequence[str]:
        """The groups that the consumer joins by itself."""
        return ()

    async def disconnect(self, code: int) -> None:
        """Call the consumer's `disconnect()`, unless it was called."""
        if not self._disconnected:
            self._disconnected = True
            await self.call_disconnect(code)

    async def call_disconnect(self, code: int) -> None:
        """Call the consumer's `disconnect()`, if it has one."""

    async def survives_without_layer(self, error: Exception) -> bool:
        """The layer has no more events, as `error` says. Whether the consumer goes on all the same; if not, it is
        raised.
        """
        return False

    async def survived(self, message: ChannelMessage) -> None:
        """`on_error()` has handled what the handler of `message` raised."""

    @classmethod
    async def refuse(cls, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> bool:
        """Send the client away: this process is about to end. False if that cannot be said, and it is to be served."""
        return False

    async def restart(self) -> bool:
        """Tell the client to come back, to another process. False if it is leaving, or cannot be told."""
        return False

    def cut(self) -> None:
        """Cancel what the consumer does, whatever it is; a cut consumer ends as one that was closed."""
        self.is_cut = True
        if self.task is not None:
            self.task.cancel()

    def was_cut(self, error: BaseException) -> bool:
        """Whether `error` is the cancellation by `cut()`, and not one of the server's task as well."""
        server = asyncio.current_task()
        return self.is_cut and isinstance(error, asyncio.CancelledError) and not (server and server.cancelling())

    # Leaving

    def close_with(self, code: int) -> None:
        """The consumer closes the connection: what the client still says is dropped."""
        self.close_code = code
        self.pump.ignore()

    @property
    def said_goodbye(self) -> bool:
        """Whether the consumer's `disconnect()` was called, or left out by a handler of its own for the disconnect."""
        return self.pump.goodbye_taken or self._disconnected

    @property
    def closed_by_client(self) -> int | None:
        """The code with which the client left; None while it is there."""
        goodbye = self.pump.goodbye
        return None if goodbye is None else goodbye.get("code", NO_CODE)

    async def leave(self) -> None:
        """Leave all groups and take no more events. Idempotent; what goes wrong is logged."""
        self._stop_listening()
        if self.left:
            return
        consumer = self.consumer
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await release_channel(consumer.channel_layer, consumer.channel_name, self.groups)
        except Exception:
            logger.warning("%s could not leave its groups", type(consumer).__name__, exc_info=True)
        self.left = True

    def end(self, failure: BaseException | None = None) -> None:
        """Make `run` return, or raise `failure`: an event ends the consumer, whatever handler of a frame runs."""
        self.pump.end(failure=failure or StopConsumer())
        self._interrupt()

    def _interrupt(self) -> None:
        if self._interruptible is not None:
            self._interruptible.interrupt()

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
    def settled(self) -> bool:
        """Whether the groups are left and no task is left either."""
        return self.left and self.pump.closed and (self.events is None or self.events.closed)

    async def wait_closed(self) -> None:
        """Leave the groups and wait until the tasks that `stop()` cancelled have ended."""
        await self.leave()
        await self.pump.wait_closed(LEAVE_SECONDS)
        if self.events is not None:
            await self.events.wait_closed(LEAVE_SECONDS)

    def forget(self) -> None:
        """Let go of what leads back here, so that the garbage collector has nothing to do for a connection."""
        self.task = None
        if self.events is not None:
            self.events.forget()
            self.events = None
        if self._interruptible is not None:
            self._interruptible.forget()
            self._interruptible = None

    def _stop_listening(self) -> None:
        reader, self.reader = self.reader, NO_READER
        reader.close()
        if self.events is not None:
            self.events.stop_listening()

    async def _hang_up(self) -> None:
        """What happens as soon as the client's disconnect is seen, whatever the dispatcher is doing."""
        impatient = self.consumer.cancel_handler_on_disconnect
        if impatient:
            self._interrupt()
        await self.leave()  # which takes no more events from here on
        if self.events is not None:
            await self.events.drain(cancel=impatient)

    async def _client_gone(self) -> bool:
        """Sending failed: wait for the disconnect. False if consumers of this kind are told of none."""
        if self.goodbye_type is None:
            return False
        await self.leave()
        if self.close_code is None:  # else it is the client's answer, which takes as long as it takes
            self.expect_goodbye()
        return True

    def expect_goodbye(self) -> None:
        """The server has a disconnect to tell: should it not, it is made up in a moment."""
        if self._goodbye_timer is None and not self.pump.over:
            self._goodbye_timer = self._loop.call_later(GOODBYE_SECONDS, self._say_goodbye)

    def _say_goodbye(self) -> None:
        if not self.pump.hanging_up:
            self.pump.end({"type": self.goodbye_type, "code": ABNORMAL, "reason": None})
