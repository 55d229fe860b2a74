"""A shared channel of the queue, as one event loop receives on it: taking, holding, acknowledging, giving back."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fast_channels.exceptions import ChannelReleased, FastChannelsError, ServerRefused
from fast_channels.layers.mailbox import SKIPPED, Counters
from fast_channels.layers.reader import EMPTY, PumpedReader
from fast_channels.layers.redis.link import Link
from fast_channels.layers.redis.scripts import ACKNOWLEDGE, GIVE_BACK, KEEP, TAKE, run
from fast_channels.layers.redis.subscriptions import Subscriptions
from fast_channels.layers.redis.wiring import DEAD_LETTERS, LEASE, QueueWiring

__all__ = ["Held", "SharedChannel", "SharedReader"]

logger = logging.getLogger("fast_channels.redis")

AT_ONCE: Final = 256
"""Messages that are taken in one go."""

KEPT_FOR: Final = 0.1
"""Seconds for which a message whose receiver was cancelled is kept for the next one, before it is given back."""

IDLE: Final = 10.0
"""Seconds without receivers after which wake-ups are not listened to any more."""

TRY_AGAIN: Final = 0.5
"""Seconds until what the server refused is tried again."""

LONGEST_DELAY: Final = 60.0
"""Seconds before a redelivery, at most."""


Result = TypeVar("Result")

_requests = itertools.count(1)
"""Numbers requests for messages: none comes twice in a process, whichever object of a channel asks."""


class Held:
    """A message of a shared channel that this process holds."""

    __slots__ = ("acknowledged", "deliveries", "id", "message", "payload")

    def __init__(self, id: bytes, deliveries: int, payload: bytes, message: Any) -> None:
        self.id = id
        self.deliveries = deliveries
        """How often it was delivered, with this time."""
        self.payload = payload
        self.message = message
        self.acknowledged: asyncio.Task[bool] | None = None
        """The acknowledgement, once it is under way; its result is whether the message was still ours."""

    def __repr__(self) -> str:
        return f"<Held {self.id.decode()}, delivery {self.deliveries}>"


class SharedChannel:
    """The receivers of one shared channel in one event loop.

    Messages are taken only for receivers that wait, by one request at a time, which is repeated with its number if its
    answer is lost. What a receiver gets stays held on the server, under the lease of this client, until it is
    acknowledged or given back.
    """

    def __init__(
        self, channel: str, client: str, wiring: QueueWiring, link: Link, subscriptions: Callable[[], Subscriptions]
    ) -> None:
        self.channel = channel
        self.keys = wiring.keys.shared(channel)
        self._client = client
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
        self._held: set[Held] = set()
        self._signal = asyncio.Event()  # receivers, or messages
        self._taker: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[Any]] = set()
        self._is_taking = False

    def __repr__(self) -> str:
        return f"<SharedChannel {self.channel!r}: {len(self._receivers)} waiting, {len(self._held)} held>"

    @property
    def needs_lease(self) -> bool:
        """Whether something is held, or waited for."""
        return bool(self._held or self._receivers)

    # Receiving

    async def hold(self) -> Held:
        """The next message; it stays held until `acknowledge` or `give_back`."""
        self._asked_at = self._loop.time()
        if self._spare and not self._receivers:
            return self._spare.popleft()
        receiver: asyncio.Future[Held] = self._loop.create_future()
        self._receivers.append(receiver)
        self._serve()
        try:
            return await receiver
        except BaseException:
            if receiver.done() and not receiver.cancelled() and receiver.exception() is None:
                self.keep_for_next(receiver.result())
            elif receiver in self._receivers:
                self._receivers.remove(receiver)
            raise

    async def deliver(self) -> Held:
        """The next message, held for a handler."""
        while True:
            held = await self.hold()
            if held.acknowledged is None or await self._is_acknowledged(held):
                return held

    async def receive(self) -> Held:
        """The next message, acknowledged."""
        while True:
            held = await self.hold()
            if held.acknowledged is None:
                held.acknowledged = self._start(self._acknowledge(held))
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
        return acknowledged.result()

    def keep_for_next(self, held: Held) -> None:
        """Its receiver was cancelled: keep it for the next one, and give it back if there is none soon."""
        self._spare.appendleft(held)
        self._hand_out()
        self._expect_receiver()

    def _expect_receiver(self) -> None:
        if self._spare and self._spare_timer is None:
            self._spare_timer = self._loop.call_later(KEPT_FOR, self._give_back_spare_if_unwanted)

    def _give_back_spare_if_unwanted(self) -> None:
        self._spare_timer = None
        if self._is_taking or self._loop.time() - self._asked_at < KEPT_FOR:
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
            await self.give_back(held)

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
            held.acknowledged = self._start(self._acknowledge(held))
        return await asyncio.shield(held.acknowledged)

    async def _acknowledge(self, held: Held) -> bool:
        keys = (self.keys.payloads, self.keys.states, self.keys.held)
        result = await self._insist(lambda: run(self._link, ACKNOWLEDGE, keys, self._client, held.id))
        self._held.discard(held)
        if result != b"1":
            logger.warning(
                "a message of channel %s was delivered again while it was handled here: its lease was over",
                self.channel,
            )
        return bool(result == b"1")

    async def give_back(self, held: Held, reason: str = "", error: str = "") -> None:
        """Give the message back to the head of the channel.

        Without `reason`, it does not count as delivered, and comes at once. With `max_deliveries` it comes after a
        delay that grows, until it was delivered too often; with `undecodable` it is a dead letter now.
        """
        await asyncio.shield(self._start(self._insist(lambda: self._give_back(held, reason, error))))

    async def _give_back(self, held: Held, reason: str = "", error: str = "") -> None:
        keys = self.keys
        restore = b"" if held.acknowledged is None else held.payload  # acknowledged for a receiver that was cancelled
        most = {"": 0, "max_deliveries": self._wiring.max_deliveries}.get(reason, 1)
        delay = min(LONGEST_DELAY, self._wiring.retry_delay * 2 ** min(held.deliveries - 1, 30)) if reason else 0.0
        result = await run(
            self._link,
            GIVE_BACK,
            (keys.ready, keys.payloads, keys.states, keys.delayed, keys.held, keys.dead, keys.reports),
            *(
                self._client,
                held.id,
                round(delay * 1000),
                most,
                DEAD_LETTERS,
                reason,
                error,
                self._wake_address,
                restore,
            ),
        )
        self._held.discard(held)
        if result == b"d":
            self._counters.dead_lettered += 1
            logger.error(
                "a message of channel %s is a dead letter after %d deliveries (%s): %s",
                *(self.channel, held.deliveries, reason, error),
            )

    async def _insist(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do it until the server has answered: what is held stays ours, and nothing is lost by waiting."""
        complained = False
        while True:
            try:
                return await self._answer(act)
            except ServerRefused as error:
                if not complained:
                    complained = True
                    logger.warning("channel %s: %s; trying again", self.channel, error)
                await asyncio.sleep(TRY_AGAIN)

    async def _answer(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the server answers, however long that takes.

        Raises:
            ServerRefused: it does not do it.
        """
        while True:
            try:
                return await act()
            except ServerRefused:
                raise
            except FastChannelsError:
                await asyncio.sleep(0)  # the link waits for its server: once more

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
            return False
        return True

    async def _take(self) -> float:
        """Take messages for who waits; the seconds after which to look again, if nobody wakes them."""
        keys = self.keys
        request = next(_requests)
        count = min(len(self._receivers), AT_ONCE)
        taking = (keys.ready, keys.payloads, keys.states, keys.delayed, keys.held, keys.leases, keys.requests)
        arguments = (self._client, request, count, LEASE)
        self._is_taking = True
        try:
            expired, due, *found = await self._answer(lambda: run(self._link, TAKE, taking, *arguments))
        except ServerRefused as error:
            self._refuse(error)
            return TRY_AGAIN
        finally:
            self._is_taking = False
        if expired:
            self._counters.drop("expired", expired)
        for at in range(0, len(found), 3):
            self._take_in(*found[at : at + 3])
        self._hand_out()
        self._expect_receiver()
        return 0.0 if len(found) == 3 * count else IDLE if due < 0 else due / 1000 + 0.001

    def _take_in(self, id: bytes, deliveries: int, payload: bytes | None) -> None:
        payload = payload or b""
        held = Held(id, deliveries, payload, self._wiring.decode(payload, self._context))
        self._held.add(held)
        if held.message is SKIPPED:
            _ = self._start(self.give_back(held, "undecodable", "it cannot be read: has its sender other keys?"))
            return
        self._counters.redelivered += deliveries > 1
        self._spare.append(held)

    def _refuse(self, error: Exception) -> None:
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
        arguments = (self._client, LEASE, self._wiring.max_deliveries, DEAD_LETTERS, self._wake_address)
        waiting, _, given_back, dead, *holders = await run(self._link, KEEP, self.keys[:9], *arguments)
        if holders:
            names = ", ".join(holder.decode() for holder in holders)
            logger.warning(
                "channel %s: %d messages that dead workers held are given back, %d are dead letters now (%s)",
                *(self.channel, given_back, dead, names),
            )
            self._counters.dead_lettered += dead
        if waiting and self._receivers:
            self._signal.set()

    def look_again(self) -> None:
        """The server may have woken receivers while nobody listened."""
        self._signal.set()

    async def close(self, reason: type[ChannelReleased]) -> None:
        """Tell who waits that it is over, and give back what nobody has got yet."""
        self._refuse(reason(self.channel))
        if self._taker is not None:
            await asyncio.wait({self._taker}, timeout=1 if self._is_taking else 0)  # what is taken now is given back
            self._taker.cancel()
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        self._give_back_spare()
        if self._work:
            _, pending = await asyncio.wait(self._work, timeout=1)
            for task in pending:
                task.cancel()
        self._subscriptions().unsubscribe(self._wake_address)

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
