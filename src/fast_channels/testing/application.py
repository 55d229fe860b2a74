"""An ASGI application under test: give it events, and look at what it sends."""

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

from asgiref.testing import ApplicationCommunicator as AsgirefCommunicator

from fast_channels.type_defs import ChannelApplication, ChannelScope

__all__ = ["ApplicationCommunicator"]


class ApplicationCommunicator(AsgirefCommunicator):
    """Runs an ASGI application in a task of its own, from the first call on; the test is its server and its client.

    An exception of the application is raised by the call that meets it.

    Args:
        application: an ASGI application.
        scope: the connection.
        cancel_on_timeout: whether a timeout ends the application. If False, waiting is harmless: the application runs
            on, and may be asked again.
    """

    def __init__(self, application: ChannelApplication, scope: ChannelScope, *, cancel_on_timeout: bool = True) -> None:
        super().__init__(application, scope)  # type: ignore[no-untyped-call]
        self.cancel_on_timeout = cancel_on_timeout
        self._cancelled_because: str | None = None

    async def send_input(self, message: Mapping[str, Any]) -> None:
        """Give the application an event.

        Raises:
            TimeoutError: the application was cancelled by an earlier timeout.
        """
        self._raise_if_failed()
        self._raise_if_cancelled()
        await self.input_queue.put(message)

    async def receive_output(self, timeout: float = 1) -> Any:
        """The next event that the application sends.

        Raises:
            TimeoutError: it sent none in `timeout` seconds (then it is cancelled, unless `cancel_on_timeout` is
                False), or it has ended.
        """
        self._raise_if_failed()
        if not self.output_queue.empty():
            return self.output_queue.get_nowait()
        self._raise_if_cancelled()
        getter = asyncio.ensure_future(self.output_queue.get())
        try:
            await asyncio.wait({getter, self.future}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            getter.cancel()  # does nothing if it has got something
        if getter.done() and not getter.cancelled():
            return getter.result()
        if not self.output_queue.empty():  # it came in the moment in which the time was up
            return self.output_queue.get_nowait()
        return await self._nothing_received(timeout)

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether the application sends nothing for `timeout` seconds, looked at every `interval` seconds.

        An application that ends meanwhile sends nothing more; if it failed, the next call raises its exception.
        """
        self._raise_if_failed()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self.output_queue.empty() and not self.future.done() and loop.time() < end:
            await asyncio.wait({self.future}, timeout=interval)
        return bool(self.output_queue.empty())

    async def wait(self, timeout: float = 1) -> None:
        """Wait until the application returns, and raise what it raises. That it was cancelled is no error.

        After `timeout` seconds it is cancelled.

        Raises:
            TimeoutError: it did not return in time, and `cancel_on_timeout` is False.
        """
        done, _ = await asyncio.wait({self.future}, timeout=timeout)
        if not done:
            if not self.cancel_on_timeout:
                raise TimeoutError(f"the application did not return in {timeout:g} s")
            await self._cancel(f"wait() gave it {timeout:g} s")
        self._raise_if_failed()

    def stop(self, exceptions: bool = True) -> None:
        """Cancel the application; or, if it has ended and `exceptions` is true, raise what it raised."""
        future = getattr(self, "_future", None)  # missing if the constructor failed
        if future is None:
            return
        if not future.done():
            self._cancelled_because = "stop() was called"
            future.cancel()
        elif exceptions:
            self._raise_if_failed()

    @property
    def cancelled(self) -> bool:
        """Whether the application was cancelled, by a timeout or by `stop()`."""
        return self._cancelled_because is not None

    async def _nothing_received(self, timeout: float) -> NoReturn:
        self._raise_if_failed()
        if self.future.done():
            raise TimeoutError("the application has returned: it sends no more")
        if self.cancel_on_timeout:
            await self._cancel(f"receive_output() got nothing in {timeout:g} s")
            self._raise_if_failed()
        raise TimeoutError(f"the application sent nothing in {timeout:g} s")

    async def _cancel(self, reason: str) -> None:
        self._cancelled_because = reason
        self.future.cancel()
        await asyncio.wait({self.future})

    def _raise_if_failed(self) -> None:
        if self.future.done() and not self.future.cancelled():
            self.future.result()

    def _raise_if_cancelled(self) -> None:
        if self.future.cancelled():
            reason = self._cancelled_because or "its task was cancelled"
            raise TimeoutError(f"the application was cancelled: {reason} (cancel_on_timeout=False lets it run on)")
