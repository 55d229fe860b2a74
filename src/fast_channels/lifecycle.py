"""A clean beginning and end of an application: draining before the server stops, layers that are closed, readiness."""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, Final

from fast_channels.consumer.draining import Drained, check_times, drain, is_draining, lobby
from fast_channels.layers.readiness import Readiness
from fast_channels.layers.registry import ChannelLayerRegistry, channel_layers

__all__ = ["Drained", "Lifespan", "Readiness", "drain", "is_draining", "lifespan", "ready"]

logger = logging.getLogger("fast_channels.lifecycle")


class Lifespan:
    """A lifespan that lets consumers go before the server stops, and closes the layers after it.

    ```python
    app = FastAPI(lifespan=Lifespan(over=30))
    ```

    Or within the application's own: `async with Lifespan(over=30)(app): yield`. Or, for anything else with a beginning
    and an end: `async with Lifespan()(): …`.

    A server reacts to SIGTERM by closing all connections at once, and runs the end of a lifespan after that. So this
    one takes the signal first: it drains (see `drain`) while the server serves on, and then hands the signal to the
    server. A second signal reaches the server at once. SIGINT (Ctrl-C) is left to the server. Where there are no
    signals to take (this is not the main thread, as with test clients), the end of the lifespan drains.

    Args:
        over: seconds over which WebSockets are closed.
        timeout: seconds that consumers have to end after that.
        signals: the signals that begin the draining.
        layers: whose layers are closed in the end.
    """

    def __init__(
        self,
        over: float = 10.0,
        timeout: float = 10.0,
        *,
        signals: Sequence[signal.Signals] = (signal.SIGTERM,),
        layers: ChannelLayerRegistry = channel_layers,
    ) -> None:
        check_times(over, timeout)
        self.over = over
        self.timeout = timeout
        self.signals = tuple(signals)
        self.layers = layers

    def __repr__(self) -> str:
        return f"Lifespan(over={self.over:g}, timeout={self.timeout:g})"

    def __call__(self, app: Any = None) -> AbstractAsyncContextManager[None]:
        """The context manager, for one life of the application."""
        return self._run()

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        here = lobby()
        here.reopen()
        try:
            with _Watch(self.signals, self._drain):
                yield
        finally:
            try:
                await self._drain()
            finally:
                here.reopen()
                await self.layers.close()

    async def _drain(self) -> None:
        await drain(self.over, self.timeout)


lifespan: Final = Lifespan()
"""The lifespan with its defaults: `FastAPI(lifespan=lifespan)`."""


async def ready(timeout: float = 1.0, *, layers: ChannelLayerRegistry = channel_layers) -> Readiness:
    """Whether this process should get new connections: it is not draining, and every registered layer is ready.

    ```python
    @app.get("/ready")
    async def readiness(response: Response) -> dict[str, str]:
        state = await ready()
        response.status_code = 200 if state else 503
        return {"state": str(state)}
    ```

    Cheap enough for a probe each second. Raises nothing.

    Args:
        timeout: seconds that a layer has for its answer.
        layers: those that are asked.
    """
    if is_draining():
        return Readiness(("draining: this process is about to end",))
    return await layers.ready(timeout)


class _Watch:
    """Within the block, a signal begins `work`, and reaches whom it was for when that is done."""

    def __init__(self, signals: Sequence[signal.Signals], work: Callable[[], Any]) -> None:
        self._signals = signals
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._signals:
            before = signal.getsignal(number)
            if before is not None and before != signal.SIG_IGN:  # None: it is handled outside Python
                self._before[number] = before
                signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._task is None:
            self._loop.call_soon_threadsafe(self._begin, number)
        else:
            self._pass_on(number)

    def _begin(self, number: int) -> None:
        if self._task is not None:  # two came in one turn of the loop
            self._pass_on(number)
            return
        logger.info("%s: draining", signal.Signals(number).name)
        self._task = self._loop.create_task(self._work_then(number))

    async def _work_then(self, number: int) -> None:
        try:
            await self._work()
        except Exception:
            logger.exception("draining failed")
        finally:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Do what would have been done at once."""
        before = self._before.pop(number, None)
        if before is None:
            return
        signal.signal(number, before)
        if callable(before):
            before(number, None)
        else:
            signal.raise_signal(number)
