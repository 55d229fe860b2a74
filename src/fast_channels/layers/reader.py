"""How a consumer reads a channel without a task that waits on it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

__all__ = ["EMPTY", "ChannelReader", "PumpedReader"]


class _Empty:
    """The type of `EMPTY`."""

    def __repr__(self) -> str:
        return "EMPTY"


EMPTY: Final = _Empty()
"""What `take()` returns when nothing waits. Not None: the pub/sub layer carries None as a message."""


class ChannelReader(Protocol):
    """The receiving end of a channel: take what is there, be woken when there may be more.

    ```python
    while (message := reader.take()) is EMPTY:
        waiter = loop.create_future()
        reader.add_waiter(waiter)
        try:
            await waiter
        finally:
            reader.discard_waiter(waiter)
    ```
    """

    __slots__ = ()

    def take(self) -> Any:
        """The next message, decoded, or `EMPTY`.

        Raises:
            MailboxOverflow: the channel overflowed under the policy "close".
        """
        ...

    def add_waiter(self, waiter: "asyncio.Future[None]") -> None:
        """Resolve `waiter` when a message arrives, or at once if one is there. A message wakes one waiter."""
        ...

    def discard_waiter(self, waiter: "asyncio.Future[None]") -> None:
        """Forget `waiter`. If it had been woken and messages are left, another is woken in its place."""
        ...

    def close(self) -> None:
        """Stop reading. What was not taken stays in the channel."""
        ...


class PumpedReader(ChannelReader):
    """A reader over any layer's `receive()`: a task takes one message ahead, and has one waiter at a time.

    What was taken ahead when the reader is closed is lost, unless `unread()` is asked for it.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self) -> Any:
        if self._messages:
            message = self._messages.popleft()
            self._start()
            return message
        if self._error is not None:
            raise self._error
        self._start()
        return EMPTY

    def add_waiter(self, waiter: "asyncio.Future[None]") -> None:
        self._waiter = waiter
        self._start()
        if self._messages or self._error is not None:
            self._wake()

    def discard_waiter(self, waiter: "asyncio.Future[None]") -> None:
        if self._waiter is waiter:
            self._waiter = None

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def unread(self) -> list[Any]:
        """What was taken ahead, the last one first; it is not handed over any more."""
        messages = list(reversed(self._messages))
        self._messages.clear()
        return messages

    def _start(self) -> None:
        if self._task is None and self._error is None:
            self._task = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            self._messages.append(await self._receive())
        except Exception as error:
            self._error = error
        self._task = None
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
