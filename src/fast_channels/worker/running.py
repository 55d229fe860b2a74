"""The life of a worker: it starts, takes messages, is asked to stop, finishes what runs, and ends."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.type_defs import ChannelApplication
from fast_channels.worker.finding import find_application, find_channels, find_layer
from fast_channels.worker.outage import Outage
from fast_channels.worker.signals import on_signals
from fast_channels.worker.slot import Slot, Tally

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger("fast_channels.worker")

LAST_SECONDS = 6.0
"""How long a handler that was cancelled may take to end, and the layer to take its message back."""


async def run_worker(
    application: "type[AsyncConsumer] | ChannelApplication",
    channels: Iterable[str] | None = None,
    *,
    layer: BaseChannelLayer | str = "default",
    concurrency: int = 1,
    grace: float = 8.0,
    handle_signals: bool = False,
) -> None:
    """Take messages from shared channels and have `application` handle them, until it is stopped.

    Each message is handled by a call of its own: a consumer object serves one message. A clean return acknowledges the
    message. An exception is logged and gives it back: the layer decides when it comes again, how often, and what
    becomes of it then. While the layer has no server, the worker waits for it.

    **Stopping.** Cancelling this call stops it cleanly: nothing more is taken, handlers that run have `grace` seconds
    to finish, the rest is cancelled and given back, and CancelledError is raised. Cancelled again, it does not wait for
    the `grace` to pass. The layer is left open.

    Args:
        application: usually a `ChannelNameRouter`; or a consumer's class, or any ASGI application. Its scope is
            `{"type": "channel", "channel": name, "channel_layer": layer}`, and `receive` gives the message once.
        channels: plain names; None for all those of the `ChannelNameRouter`.
        layer: the layer, or its alias.
        concurrency: how many messages of each channel are handled at once. With one, a channel's messages are handled
            in order, as far as this worker goes.
        grace: seconds; with the default, the worker has ended before Docker loses patience.
        handle_signals: stop on SIGTERM and SIGINT, and return. A second one cancels the handlers at once, a third one
            ends the process. For the main thread of a process that is nothing but a worker.

    Raises:
        ValueError: no channels, one that is not in the router or that belongs to one process, or a number out of range.
        InvalidNameError: no name of a channel.
        InvalidChannelLayerError: the alias is not registered.
        ChannelLayerClosed: the layer was closed meanwhile; the worker has stopped cleanly.
    """
    worker = Worker(application, channels, layer=layer, concurrency=concurrency, grace=grace)
    with on_signals(worker.stop) if handle_signals else nullcontext():
        await worker.run()


class Worker:
    """What `run_worker` runs. Made within an event loop, and run once."""

    def __init__(
        self,
        application: "type[AsyncConsumer] | ChannelApplication",
        channels: Iterable[str] | None,
        *,
        layer: BaseChannelLayer | str,
        concurrency: int,
        grace: float,
    ) -> None:
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"concurrency is a whole number of messages, at least 1, not {concurrency!r}")
        if not grace >= 0:
            raise ValueError(f"grace is a number of seconds, at least 0, not {grace!r}")
        self._application = find_application(application)
        self._channels = find_channels(self._application, channels)
        self._layer = find_layer(layer)
        self._concurrency = concurrency
        self._grace = grace
        self._tally = Tally()
        loop = asyncio.get_running_loop()
        self._stopping: asyncio.Future[str] = loop.create_future()
        self._hurrying: asyncio.Future[str] = loop.create_future()

    def __repr__(self) -> str:
        return f"<Worker of {', '.join(self._channels)}>"

    def stop(self, reason: str) -> None:
        """Stop cleanly; called again, without waiting for handlers. `reason` is for the log."""
        if not self._stopping.done():
            self._stopping.set_result(reason)
        elif not self._hurrying.done():
            self._hurrying.set_result(reason)

    async def run(self) -> None:
        """Work until `stop()` is called, or this task is cancelled, which does the same."""
        life = asyncio.get_running_loop().create_task(self._live(), name="fast-channels worker")
        cancelled = False
        while not life.done():
            try:
                await asyncio.wait((life,))
            except asyncio.CancelledError:
                cancelled = True
                self.stop("cancelled")
        life.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _live(self) -> None:
        slots = self._start()
        tasks = {slot.task for slot in slots}
        try:
            awaited: set[asyncio.Future[Any]] = {self._stopping, *tasks}
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            failures = [_failure(task) for task in done if task is not self._stopping]
            if failures and not self._stopping.done():
                self.stop(str(failures[0]))
            await self._stop(slots)
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(_look_at)
        for failure in filter(None, failures):
            raise failure

    def _start(self) -> Sequence[Slot]:
        outages = {channel: Outage(channel) for channel in self._channels}
        slots = [
            Slot(self._application, self._layer, channel, outage, self._tally)
            for channel, outage in outages.items()
            for _ in range(self._concurrency)
        ]
        logger.info(
            "worker started: channels %s; %d at a time of each; %r",
            ", ".join(self._channels),
            self._concurrency,
            self._layer,
        )
        return slots

    # Stopping

    async def _stop(self, slots: Sequence[Slot]) -> None:
        busy = sum(slot.handling is not None for slot in slots)
        patience = f", for up to {self._grace:g} s" if busy else ""
        logger.info("worker stopping (%s): %s at work%s", self._stopping.result(), _count(busy, "handler"), patience)
        before = replace(self._tally)
        for slot in slots:
            slot.stop()
        tasks = {slot.task for slot in slots}
        await self._grant(tasks)
        for task in tasks:
            task.cancel()
        _, left = await asyncio.wait(tasks, timeout=LAST_SECONDS)
        if busy:
            self._report_handlers(before)
        self._report_end(len(left))

    async def _grant(self, tasks: "set[asyncio.Task[None]]") -> None:
        """Wait for `tasks`: for the time of grace, or until there is a hurry."""
        everyone = asyncio.ensure_future(asyncio.wait(tasks))
        try:
            await asyncio.wait((everyone, self._hurrying), timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            everyone.cancel()

    def _report_handlers(self, before: Tally) -> None:
        tally = self._tally
        parts = [_count(tally.handled - before.handled, "handler") + " finished"]
        if failed := tally.failed - before.failed:
            parts.append(f"{failed} failed")
        if tally.cancelled:
            why = self._hurrying.result() if self._hurrying.done() else f"not done after {self._grace:g} s"
            names = ", ".join(sorted(tally.cancelled)[:20])
            parts.append(f"{len(tally.cancelled)} cancelled and given back ({why}): {names}")
        if unsettled := tally.unsettled - before.unsettled:
            parts.append(f"{unsettled} without an answer of the layer: what they held comes again")
        logger.info("worker: %s", "; ".join(parts))

    def _report_end(self, left: int) -> None:
        if left:
            logger.error(
                "worker: %s did not end in %g s after being cancelled; what they hold comes again when this process "
                "has ended",
                _count(left, "handler"),
                LAST_SECONDS,
            )
        tally = self._tally
        logger.info("worker stopped: %s handled, %s", _count(tally.handled, "message"), _count(tally.failed, "failure"))


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _failure(ended: "asyncio.Future[Any]") -> BaseException | None:
    """Why a slot has ended that should not have."""
    return RuntimeError("a task of the worker was cancelled") if ended.cancelled() else ended.exception()


def _look_at(task: "asyncio.Task[None]") -> None:
    """Its error is that of another one, which is raised."""
    if not task.cancelled():
        task.exception()
