"""Reading from the client ahead of the handlers."""

import asyncio
from collections.abc import Awaitable, Callable

from fast_channels.type_defs import ASGIReceiveCallable, ChannelMessage

__all__ = ["READ_AHEAD", "FramePump", "is_goodbye"]

READ_AHEAD = 16
"""Frames that are read before a handler asked for them; then the server is left to hold its client back."""


def is_goodbye(message: ChannelMessage) -> bool:
    """Whether `message` says that the client has disconnected."""
    return message.get("type") in ("websocket.disconnect", "http.disconnect")


class FramePump:
    """A task that reads ASGI's `receive`, so that a disconnect is seen while a handler runs.

    Attributes:
        frames: what was read and is not dispatched yet, in order; the disconnect is the last.
        goodbye: the disconnect, when it is among the frames.
        goodbye_taken: whether it was dispatched.
        over: whether nothing more will be read.
        waiter: a future to resolve when there is a frame, or the end.
    """

    __slots__ = (
        "_failure",
        "_hanging_up",
        "_ignoring",
        "_room",
        "_stopped",
        "_task",
        "frames",
        "goodbye",
        "goodbye_taken",
        "over",
        "waiter",
    )

    def __init__(self) -> None:
        self.frames: list[ChannelMessage] = []
        self.goodbye: ChannelMessage | None = None
        self.goodbye_taken = False
        self.over = False
        self.waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._hanging_up = False
        self._ignoring = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "over" if self.over else "reading"
        return f"<FramePump: {len(self.frames)} frames ahead, {state}>"

    def start(self, receive: ASGIReceiveCallable, hang_up: Callable[[], Awaitable[None]]) -> None:
        """Begin to read. `hang_up` is awaited when the client has disconnected, before the disconnect is a frame."""
        self._task = asyncio.get_running_loop().create_task(self._run(receive, hang_up))

    # What the dispatcher does

    def take(self) -> ChannelMessage:
        """The next frame; there must be one."""
        frame = self.frames.pop(0)
        self._make_room()
        if frame is self.goodbye:
            self.goodbye_taken = True
        return frame

    def ignore(self) -> None:
        """Drop what was read, and will be: all but the disconnect."""
        self._ignoring = True
        self.frames[:] = [frame for frame in self.frames if frame is self.goodbye]
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def raise_failure(self) -> None:
        """Raise what `receive` raised, if that is how it ended."""
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # the traceback would hold this frame, and this frame the failure

    def end(self, goodbye: ChannelMessage | None = None, failure: BaseException | None = None) -> None:
        """Read no more. `goodbye` becomes the last frame; with a `failure`, what was read is dropped."""
        if self.over:
            return
        self.stop()
        if failure is not None:
            self.frames.clear()
        self._finish(goodbye, failure)

    def stop(self) -> None:
        """Cancel the task, unless it is hanging up. What was read stays."""
        if not self._stopped:
            self._stopped = True
            if self._task is not None:
                self._task.cancel()

    @property
    def hanging_up(self) -> bool:
        """Whether the client has disconnected, and the disconnect is not among the frames yet."""
        return self._hanging_up and not self.over

    @property
    def closed(self) -> bool:
        """Whether the task has ended."""
        return self._task is None or self._task.done()

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the task has ended, at most `timeout` seconds."""
        if self._task is not None and not self._task.done():
            await asyncio.wait((self._task,), timeout=timeout)

    # The task

    async def _run(self, receive: ASGIReceiveCallable, hang_up: Callable[[], Awaitable[None]]) -> None:
        frames = self.frames
        goodbye = None
        try:
            while True:
                message = await receive()
                if is_goodbye(message):
                    goodbye = message
                    self._stopped = self._hanging_up = True  # from here on it ends by itself
                    await hang_up()
                    break
                if self._ignoring:
                    continue
                frames.append(message)
                if self.waiter is not None:
                    self._wake()
                if len(frames) >= READ_AHEAD:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                    self._room = None
        except BaseException as error:
            self._finish(goodbye, None if self._stopped else error)
        else:
            self._finish(goodbye, None)

    def _finish(self, goodbye: ChannelMessage | None, failure: BaseException | None) -> None:
        if self.over:
            return
        self.over = True
        self._failure = failure
        if goodbye is not None:
            self.goodbye = goodbye
            self.frames.append(goodbye)
        if self.waiter is not None:
            self._wake()

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
