"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from fast_channels.exceptions import FastChannelsError

__all__ = ["BackgroundLoop"]

logger = logging.getLogger("fast_channels.layers")

ENDING: Final = 2.0
"""Seconds that the loop has to let go of what it holds."""

LAST: Final = 0.1
"""Seconds that its calls have to end by themselves then."""

Result = TypeVar("Result")


class BackgroundLoop:
    """A daemon thread with an event loop, started by the first call, ended by `stop()`; another call starts another.

    Args:
        ending: what the loop does before it ends.
    """

    def __init__(self, ending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._ending = ending
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def __repr__(self) -> str:
        return f"<BackgroundLoop {'running' if self._running else 'not running'}>"

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._running is not None

    def run(
        self,
        make: Callable[[], Coroutine[Any, Any, Result]],
        unclaimed: Callable[[Result], Coroutine[Any, Any, None]] | None = None,
    ) -> Result:
        """Run a coroutine in the loop, and wait for what it returns or raises.

        A wait that is interrupted (by Ctrl-C) cancels the coroutine. If it returned something nevertheless, that goes
        to `unclaimed`.

        Raises:
            FastChannelsError: the loop was stopped meanwhile.
        """
        call = _Call(make, unclaimed)
        try:
            self._begin(call)
            return call.outcome.result()
        except BaseException:
            call.give_up()
            raise

    def _begin(self, call: "_Call[Any]") -> None:
        with self._lock:
            if self._running is None:
                self._running = _Running(self._ending)
            call.running = self._running
            self._running.loop.call_soon_threadsafe(call.begin, self._running)

    def stop(self, *, wait: bool = True, quiet: bool = False) -> None:
        """End the loop and its thread, if there is one.

        Args:
            wait: whether it has ended when this returns.
            quiet: whether threads that wait are not told: the interpreter exits.
        """
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.stop(quiet=quiet)
            if wait and running.thread is not threading.current_thread():
                running.thread.join(ENDING + LAST + 1)


class _Running:
    """A loop while it runs."""

    def __init__(self, ending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.calls: set[asyncio.Task[None]] = set()
        self.is_quiet = False
        self._ending = ending
        # A runner that makes its loop by itself makes it that of the calling thread, too.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self._runner.get_loop()
        self._stopped = asyncio.Event()
        self.thread = threading.Thread(target=self._serve, name="fast-channels sync", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:  # there can be no more threads
            self._runner.close()
            raise

    def stop(self, *, quiet: bool) -> None:
        self.is_quiet = quiet
        with suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self._stopped.set)

    def _serve(self) -> None:
        with self._runner:
            self._runner.run(self._main())

    async def _main(self) -> None:
        await self._stopped.wait()
        try:
            async with asyncio.timeout(ENDING):
                await self._ending()
        except Exception:
            logger.exception("layer.sync was not closed in order")
        if self.calls:
            await asyncio.wait(self.calls, timeout=LAST)


class _Call(Generic[Result]):
    """A coroutine of the loop, and the thread that waits for it."""

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, Result]],
        unclaimed: Callable[[Result], Coroutine[Any, Any, None]] | None,
    ) -> None:
        self.outcome: Future[Result] = Future()
        self.running: _Running | None = None
        """Where it runs, or is about to."""
        self._make = make
        self._unclaimed = unclaimed
        self._task: asyncio.Task[None] | None = None

    # In the loop

    def begin(self, running: _Running) -> None:
        if not self.outcome.cancelled():
            self._task = running.loop.create_task(self._run(running))
            running.calls.add(self._task)
            self._task.add_done_callback(running.calls.discard)

    async def _run(self, running: _Running) -> None:
        try:
            result = await self._make()
        except BaseException as error:
            if not running.is_quiet:
                closed = isinstance(error, asyncio.CancelledError)
                self._fail(FastChannelsError("the layer was closed meanwhile") if closed else error)
            return
        try:
            self.outcome.set_result(result)
        except InvalidStateError:  # the caller was interrupted just now
            self._task = None  # this is not to be cancelled
            await self._put_back(result)

    async def _put_back(self, result: Result) -> None:
        if self._unclaimed is not None:
            await self._unclaimed(result)

    def _fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.outcome.set_exception(error)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # In the thread

    def give_up(self) -> None:
        """Nobody waits any more: the coroutine failed, or the caller was interrupted."""
        is_under_way = self.outcome.cancel()
        if self.running is None:
            return
        with suppress(RuntimeError):  # the loop has ended
            if is_under_way:
                self.running.loop.call_soon_threadsafe(self._cancel)
            elif self.outcome.exception() is None:
                asyncio.run_coroutine_threadsafe(self._put_back(self.outcome.result()), self.running.loop)
