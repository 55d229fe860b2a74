"""A shared channel of the queue, as one event loop receives on it: taking, holding, acknowledging, giving back."""

import asyncio
import itertools
import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from fast_channels.exceptions import ChannelReleased, FastChannelsError, ServerRefused
from fast_channels.layers.mailbox import SKIPPED, Counters
from fast_channels.layers.reader import EMPTY, PumpedReader
from fast_channels.layers.redis.held import TRY_AGAIN, Held, Holdings, patiently
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.outbox import PASSING
from fast_channels.layers.redis.scripts import TAKE, run
from fast_channels.layers.redis.subscriptions import Listening
from fast_channels.layers.redis.wiring import LEASE, QueueWiring

__all__ = ["Held", "SharedChannel", "SharedReader"]

logger = logging.getLogger("fast_channels.redis")

AT_ONCE: Final = 256
"""Messages that are taken in one go."""

KEPT_FOR: Final = 0.1
"""Seconds for which a message whose receiver was cancelled is kept for the next one, before it is given back."""

IDLE: Final = 10.0
"""Seconds without receivers after which wake-ups are not listened to any more."""

WAITED_OUT: Final = (*PASSING, "MISCONF", "OOM")
"""Refusals that end by themselves, or by whoever looks after the server: who receives waits."""

Result = TypeVar("Result")

_requests = itertools.count(1)
"""Numbers requests for messages: none comes twice in a process, whichever object of a channel asks."""


class SharedChannel:
    """The receivers of one shared channel in one event loop.

    Messages are taken only for receivers that wait, by one request at a time, which is repeated with its number if its
    answer is lost. What a receiver gets stays held on the server, under a lease, until it is acknowledged or given
    back.
    """

    def __init__(
        self, channel: str, client: str, wiring: QueueWiring, link: Commands, subscriptions: Callable[[], Listening]
    ) -> None:
        self.channel = channel
        self.keys = wiring.keys.shared(channel)
        self._holdings = Holdings(channel, client, wiring, link)
        self._wiring = wiring
        self._counters = wiring.counters
        self._link = link
        self._subscriptions = subscriptions
        self._wake_address = wiring.keys.wake(channel)
        self._context = wiring.keys.channel_context(channel)
        self._loop = asyncio.get_running_loop()
        self._receivers: deque[asyncio.Future[Held]] = deque()
        self._spare: deque[Held] = deque()  # taken for receivers that were cancelled
        self._spare_timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()  # what is given back unused comes before what is taken next
        self._asked_at = 0.0  # when somebody asked for a message last
        self._signal = asyncio.Event()  # receivers, or messages
        self._taker: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[Any]] = set()
        self._taking: asyncio.Future[None] | None = None  # until what is taken now has arrived
        self._request = 0
        self._is_answered = True  # the last request
        self._is_refused = False  # for now
        self._end: type[ChannelReleased] | None = None

    def __repr__(self) -> str:
        return f"<SharedChannel {self.channel!r}: {len(self._receivers)} waiting, {len(self._holdings.held)} held>"

    @property
    def needs_lease(self) -> bool:
        """Whether something is held, or waited for."""
        return bool(self._holdings.held or self._receivers)

    # Receiving

    async def hold(self) -> Held:
        """The next message; it stays held until `acknowledge` or `give_back`."""
        if self._end is not None:
            raise self._end(self.channel)
        self._asked_at = self._loop.time()
        if self._spare and not self._receivers:
            return self._spare.popleft()
        receiver: asyncio.Future[Held] = self._loop.create_future()
        self._receivers.append(receiver)
        self._serve()
        try:
            held = await receiver
        except BaseException:
            if receiver.done() and not receiver.cancelled() and receiver.exception() is None:
                self.keep_for_next(receiver.result())
            elif receiver in self._receivers:
                self._receivers.remove(receiver)
            raise
        if self._end is not None:  # which gave it back
            raise self._end(self.channel)
        return held

    async def deliver(self) -> Held:
        """The next message, held for a handler."""
        while True:
            held = await self.hold()
            if held.acknowledged is None or await self._is_acknowledged(held):
                held.is_handed_over = True
                return held

    async def receive(self) -> Held:
        """The next message, acknowledged."""
        while True:
            held = await self.hold()
            if held.acknowledged is None:
                held.acknowledged = self._start(self._holdings.acknowledge(held))
            if await self._is_acknowledged(held):
                return held

    async def _is_acknowledged(self, held: Held) -> bool:
        """Wait for the acknowledgement; False if the message was not ours any more."""
        acknowledged = held.acknowledged
        if acknowledged is None:
            return False
        try:
            await asyncio.wait({acknowledged})
        except BaseException:
            self.keep_for_next(held)
            raise
        if acknowledged.cancelled():  # the channel was closed, and its server is away
            raise (self._end or ChannelReleased)(self.channel)
        return acknowledged.result()

    def keep_for_next(self, held: Held) -> None:
        """Its receiver was cancelled: keep it for the next one, and give it back if there is none soon."""
        if self._end is not None:
            if held.acknowledged is not None:  # else it was given back when the channel was closed
                _ = self._start(self._give_back_unused(held))
            return
        insort(self._spare, held, key=lambda spare: spare.place)
        self._hand_out()
        self._expect_receiver()

    def _expect_receiver(self) -> None:
        if self._spare and self._spare_timer is None:
            self._spare_timer = self._loop.call_later(KEPT_FOR, self._give_back_spare_if_unwanted)

    def _give_back_spare_if_unwanted(self) -> None:
        self._spare_timer = None
        if self._taking or self._loop.time() - self._asked_at < KEPT_FOR:
            self._expect_receiver()  # receivers come and go: what is kept comes before what they are taken
        else:
            self._give_back_spare()

    def _give_back_spare(self) -> None:
        while self._spare:  # the last one first: each goes to the head
            task = self._start(self._give_back_unused(self._spare.pop()))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _give_back_unused(self, held: Held) -> None:
        if held.acknowledged is None or await held.acknowledged:
            await self._holdings.give_back(held)

    def _hand_out(self) -> None:
        while self._spare and self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_result(self._spare.popleft())

    # Holding

    async def acknowledge(self, held: Held) -> bool:
        """The message was handled. False if it was not ours any more: our lease was over, somebody else has it.

        Waits for the server as long as it takes.
        """
        if held.acknowledged is None:
            if held not in self._holdings.held:
                return False  # it was given back when the channel was closed
            held.acknowledged = self._start(self._holdings.acknowledge(held))
        return await asyncio.shield(held.acknowledged)

    async def give_back(self, held: Held, reason: str = "", error: str = "") -> None:
        """Give the message back to the head of the channel.

        Without `reason`, it does not count as delivered, and comes at once. With `max_deliveries` it comes after a
        delay that grows, until it was delivered too often; with `undecodable` it is a dead letter now.
        """
        if held in self._holdings.held or held.acknowledged is not None:
            await asyncio.shield(self._start(self._holdings.give_back(held, reason, error)))

    def _start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Do something to its end, whatever happens to who asked for it."""
        task = self._loop.create_task(work, name=f"fast-channels {self.channel}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    # Taking

    def _serve(self) -> None:
        self._signal.set()
        if self._taker is None or self._taker.done():
            self._taker = self._loop.create_task(self._take_for_receivers(), name=f"fast-channels {self.channel}")

    def _woken(self, payload: bytes) -> None:
        self._signal.set()

    async def _take_for_receivers(self) -> None:
        await self._listen()
        while self._receivers or await self._signalled(IDLE):
            self._signal.clear()
            if self._returning:
                await asyncio.wait(self._returning)
            if self._receivers:
                pause = await self._take()
                if pause and self._receivers:
                    await self._signalled(pause)
        self._subscriptions().unsubscribe(self._wake_address)

    async def _listen(self) -> None:
        try:
            await self._subscriptions().subscribe(self._wake_address, self._woken)
        except FastChannelsError as error:
            logger.warning("nothing wakes the receivers of channel %s, they look every second: %s", self.channel, error)

    async def _signalled(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._signal.wait()
        except TimeoutError:
            return self._signal.is_set()  # both may have come at once
        return True

    async def _take(self) -> float:
        """Take messages for who waits; the seconds after which to look again, if nobody wakes them."""
        count = min(len(self._receivers), AT_ONCE)
        self._taking = taking = self._loop.create_future()
        try:
            expired, due, *found = await self._ask(count)
        except ServerRefused as error:
            self._refused(error)
            return TRY_AGAIN
        finally:
            self._taking = None
            taking.set_result(None)
        self._is_answered, self._is_refused = True, False
        if expired:
            self._counters.drop("expired", expired)
        for at in range(0, len(found), 3):
            self._take_in(*found[at : at + 3])
        self._hand_out()
        self._expect_receiver()
        return 0.0 if len(found) == 3 * count else IDLE if due < 0 else due / 1000 + 0.001

    async def _ask(self, count: int) -> Any:
        """Request messages; again, if the answer to the last request was not waited for: it may have brought some."""
        if self._is_answered:
            self._request, self._is_answered = next(_requests), False
        keys = self.keys
        taking = (keys.ready, keys.payloads, keys.states, keys.delayed, keys.held, keys.leases, keys.requests)
        arguments = (self._holdings.name, self._request, count, LEASE)
        return await patiently(lambda: run(self._link, TAKE, taking, *arguments))

    def _take_in(self, id: bytes, deliveries: int, payload: bytes | None) -> None:
        if not deliveries:  # there was an id, and no message
            self._counters.drop("undecodable")
            return
        payload = payload or b""
        held = Held(id, deliveries, payload, self._wiring.decode(payload, self._context))
        self._holdings.held.add(held)
        if held.message is SKIPPED:
            _ = self._start(self.give_back(held, "undecodable", "it cannot be read: has its sender other keys?"))
            return
        self._counters.redelivered += deliveries > 1
        self._spare.append(held)

    def _refused(self, error: ServerRefused) -> None:
        if not error.answer.startswith(WAITED_OUT):
            self._tell(error)
        elif not self._is_refused:
            self._is_refused = True
            logger.warning("channel %s: %s; trying again", self.channel, error)

    def _tell(self, error: Exception) -> None:
        """Tell who waits."""
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_exception(error)
                receiver.exception()  # who waited may be cancelled now

    # Life

    async def keep(self) -> None:
        """Keep the lease on what is held, and give back what those hold whose lease is over.

        Raises:
            FastChannelsError: the server could not be told.
        """
        waiting = await self._holdings.keep()
        if self._receivers and (waiting or self._taker is None or self._taker.done()):
            self._serve()  # also again: some programs cancel every task there is

    def look_again(self) -> None:
        """The server may have woken receivers while nobody listened."""
        self._signal.set()

    async def close(self, reason: type[ChannelReleased]) -> None:
        """Tell who waits that it is over, and give back all that is held: nobody keeps its lease from now on."""
        self._end = reason
        self._subscriptions().unsubscribe(self._wake_address)  # now: who receives here next subscribes anew
        self._tell(reason(self.channel))
        if self._taking is not None:
            await asyncio.wait({self._taking}, timeout=1)
        if self._taker is not None:
            self._taker.cancel()
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        self._give_back_all()
        await self._finish()
        if not self._holdings.held and self._link.connection is not None:
            _ = self._start(self.end())
            await self._finish()
        self._holdings.held.clear()

    async def end(self) -> None:
        """Take it off the server's lists of who receives. If the server cannot be told, it forgets that by itself."""
        if self._request:
            with suppress(FastChannelsError):
                await self._holdings.end()

    async def _finish(self) -> None:
        """Wait for the server, if it answers soon."""
        try:
            async with asyncio.timeout(1):
                while self._work:
                    await asyncio.wait(self._work)
        except TimeoutError:
            for task in tuple(self._work):
                task.cancel()

    def _give_back_all(self) -> None:
        """What was taken last first, so that the order stays."""
        handled = [held for held in self._holdings.held if held.acknowledged is None and held not in self._spare]
        self._spare = deque(sorted((*self._spare, *handled), key=lambda held: held.place))
        self._give_back_spare()

    @property
    def is_unused(self) -> bool:
        """Whether nobody receives here, or holds anything."""
        return not self.needs_lease and not self._work and (self._taker is None or self._taker.done())


class SharedReader(PumpedReader):
    """Reads a shared channel ahead by one message, which it gives back if it is closed meanwhile."""

    def __init__(self, shared: Callable[[], SharedChannel], counters: Counters) -> None:
        super().__init__(lambda: shared().receive())
        self._shared = shared
        self._counters = counters

    def take(self) -> Any:
        held = super().take()
        if held is EMPTY:
            return held
        self._counters.received += 1
        return held.message

    def close(self) -> None:
        super().close()
        for held in self.unread():
            self._shared().keep_for_next(held)
