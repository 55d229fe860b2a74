"""A place in a worker: takes one message at a time from one channel, and has it handled."""

import asyncio
import logging
from dataclasses import dataclass, field

from fast_channels.exceptions import ChannelLayerClosed
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.type_defs import ChannelApplication
from fast_channels.worker.handling import handle, type_of
from fast_channels.worker.outage import Backoff, Outage

__all__ = ["Slot", "Tally"]

logger = logging.getLogger("fast_channels.worker")


@dataclass(slots=True)
class Tally:
    """What became of the messages that a worker took.

    Attributes:
        handled: acknowledged.
        failed: given back because the handler raised.
        cancelled: given back because the worker stopped; each with its channel and its type.
        unsettled: neither acknowledged nor given back, because the layer did not answer: they come again.
    """

    handled: int = 0
    failed: int = 0
    unsettled: int = 0
    cancelled: list[str] = field(default_factory=list)


class Slot:
    """Takes a message, has it handled, acknowledges it or gives it back, and takes the next.

    What the layer raises is an outage: it is reported, and the slot goes on. Only a layer that was closed ends it.

    Attributes:
        channel: where the messages come from.
        handling: the type of the message that it holds, from the hand-over until it is settled; None while it waits.
        task: in which it runs.
    """

    __slots__ = (
        "_application",
        "_backoff",
        "_layer",
        "_layer_delays",
        "_outage",
        "_stopping",
        "_tally",
        "channel",
        "handling",
        "task",
    )

    def __init__(
        self, application: ChannelApplication, layer: BaseChannelLayer, channel: str, outage: Outage, tally: Tally
    ) -> None:
        self.channel = channel
        self.handling: str | None = None
        self._application = application
        self._layer = layer
        # Without dead letters, a message that fails is back at once, and would be taken again and again.
        self._layer_delays = getattr(layer, "dead_letters", None) is not None
        self._outage = outage
        self._tally = tally
        self._backoff = Backoff()
        self._stopping = False
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"fast-channels worker: {channel}")

    def __repr__(self) -> str:
        return f"<Slot of {self.channel}: {self.handling or 'waiting'}>"

    def stop(self) -> None:
        """Take no more messages. What is being handled is finished."""
        self._stopping = True
        if self.handling is None:
            self.task.cancel()

    async def _run(self) -> None:
        while not self._stopping:
            if await self._take_one():
                self._backoff.reset()
            elif not self._stopping:
                await asyncio.sleep(self._backoff.pause())

    async def _take_one(self) -> bool:
        """Whether the next message may be taken at once; what the handler and the layer raise is in the log by then."""
        failure: BaseException | None = None
        try:
            async with self._layer.delivery(self.channel) as message:
                self.handling = type_of(message)
                self._outage.over()
                try:
                    await handle(self._application, self._layer, self.channel, message)
                except BaseException as error:
                    failure = error
                    self._log_failure(error)
                    raise
            self._tally.handled += 1
        except BaseException as error:
            return self._settle(error, failure)
        finally:
            self.handling = None
            del failure  # the traceback would hold this frame, and this frame the error
        return True

    def _log_failure(self, failure: BaseException) -> None:
        if isinstance(failure, Exception):
            logger.error("channel %s: the handler of %s failed", self.channel, self.handling, exc_info=failure)

    def _settle(self, error: BaseException, failure: BaseException | None) -> bool:
        """What follows from `error`, which left the delivery of a message, where the handler raised `failure`."""
        if error is failure:
            if isinstance(error, Exception):
                self._tally.failed += 1
                return self._layer_delays
            self._tally.cancelled.append(f"{self.channel} {self.handling}")
            raise error
        self._tally.unsettled += self.handling is not None
        if isinstance(error, ChannelLayerClosed) or not isinstance(error, Exception):
            raise error
        self._outage.report(error, self._doing(failure))
        return False

    def _doing(self, failure: BaseException | None) -> str:
        """What the layer was asked for."""
        if self.handling is None:
            return "taking a message"
        return f"{'acknowledging' if failure is None else 'giving back'} {self.handling}"
