"""The contract: what every channel layer promises, and the rules that all of them share."""

import copy
import fnmatch
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from fast_channels import names
from fast_channels.exceptions import InvalidMessageError, InvalidNameError, MessageTooLarge, NotAllSent, NotSent
from fast_channels.layers.reader import ChannelReader, PumpedReader
from fast_channels.layers.readiness import Readiness
from fast_channels.layers.sending import check_expiry, pairs_of
from fast_channels.layers.sync import SyncLayer
from fast_channels.serializers import MsgPackSerializer
from fast_channels.type_defs import ChannelCapacityDict, CompiledChannelCapacities

__all__ = ["BaseChannelLayer", "LayerStatistics"]


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """What a layer did in this process since it was made. Local and free: no server is asked.

    All are counts of messages but those of connections and `restored`. `dropped` names each reason: `over_capacity`,
    `channel_gone` (released, or never made here), `undecodable`, `too_large`, `expired`, `inbox_full`, `owner_gone`
    (left by a process that died), ….
    """

    sent: int = 0
    group_sent: int = 0
    received: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    disconnections: int = 0
    reconnections: int = 0
    redelivered: int = 0
    """Messages of shared channels that were handed over here and had been delivered before."""
    dead_lettered: int = 0
    """Messages that became dead letters here."""
    restored: int = 0
    """How often a server had lost what this process had there, and was told again: after a flush, or a failover."""


class BaseChannelLayer:
    """A way to send messages to channels and groups of channels, in this process or in others.

    **Channels.** A plain name (`jobs`) is shared by every process; a specific one, from `new_channel()`, belongs to the
    process and event loop that made it.

    **Values.** A message is a dict. What msgspec encodes is accepted and comes back as msgpack carries it (a tuple as a
    list, a UUID as a string); what it cannot encode is refused at the call. Every receiver gets its own copy.

    **Order** is kept per sender, for each channel and each group.

    **Capacity.** A channel holds `capacity` messages. A direct `send` to a full one raises `ChannelFull` (pub/sub: the
    overflow policy of its receiver decides); a group's message is dropped for that channel alone, counted in
    `statistics()`, and logged once an episode.

    **Expiry.** A message older than `expiry` seconds is never handed over (pub/sub keeps no messages, so none expires
    there). It ends at the hand-over: what a handler holds does not expire.

    **Cancelling `receive()`** ends that wait and nothing else: the channel, its messages and its memberships stay until
    `release_channel()`, `close()` or the end of the process.

    **Bad input** raises at the call that made it, before anything is sent: `InvalidNameError` and `InvalidMessageError`
    (both are a TypeError), `MessageTooLarge`.

    Args:
        expiry: seconds for which an undelivered message is kept.
        capacity: messages that a channel holds.
        channel_capacity: globs or compiled patterns with capacities of their own; the first that matches wins.
    """

    MAX_NAME_LENGTH: ClassVar[int] = names.MAX_NAME_LENGTH
    invalid_name_error: ClassVar[str] = names.invalid_name_error

    extensions: list[str] = ["groups", "flush"]
    """What the layer can do beyond sending and receiving."""

    max_message_size: int = 16 * 1024 * 1024
    """The largest message in its encoded form, in bytes; a larger one raises `MessageTooLarge`. One that somebody else
    has put on the server is set aside, and counted as `too_large`. The layers take it as an argument, too.
    """

    def __init__(
        self,
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: ChannelCapacityDict | None = None,
    ) -> None:
        if not expiry > 0:
            raise ValueError(f"expiry must be more than 0 seconds, not {expiry!r}")
        _check_capacity(capacity)
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})

    # Sending and receiving

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send `message` to one receiver of `channel` (pub/sub: to every process that receives there).

        Args:
            channel: its name, plain or specific.
            message: what its receiver gets.
            expiry: seconds for which this message is kept, instead of the layer's (no effect on pub/sub).

        Raises:
            ChannelFull: the channel holds `capacity` messages (not on pub/sub).
            ServerUnreachable: no server for `send_timeout` seconds; nothing was sent.
            OutcomeUnknown: the connection broke between the sending and the answer.
        """
        raise NotImplementedError

    async def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]], *, expiry: float | None = None) -> None:
        """Send each message to its channel, in their order, without waiting for one before the next is sent.

        All are checked and encoded before the first is sent: bad input raises what `send` raises, and nothing is sent.
        This default, for any layer, sends one after the other.

        Args:
            messages: pairs of a channel and a message.
            expiry: seconds for which these messages are kept, instead of the layer's (no effect on pub/sub).

        Raises:
            NotAllSent: some were not sent, for the reasons that it names; the others were.
        """
        check_expiry(expiry)
        checked = [(channel, self._checked(channel, message)) for channel, message in pairs_of(messages)]
        # a layer that was written before a message had an expiry of its own does not know it
        options = {} if expiry is None else {"expiry": expiry}
        failures = []
        for index, (channel, message) in enumerate(checked):
            try:
                await self.send(channel, message, **options)
            except Exception as error:
                failures.append(NotSent(index, channel, error))
        raise_unless_all_sent(failures, len(checked))

    def _checked(self, channel: str, message: dict[str, Any]) -> dict[str, Any]:
        """`message`, if `send` would take it; for the default of `send_many()`."""
        names.check_channel_name(channel)
        require_dict(message)
        size = len(_trial.serialize(message))
        if size > self.max_message_size:
            raise MessageTooLarge(size=size, limit=self.max_message_size)
        return message

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of `channel`, as soon as there is one. Several may wait on a channel: each message goes to
        one.

        Raises:
            ForeignChannelError: a specific channel of another process, layer or event loop (also an AssertionError).
            MailboxOverflow: the channel overflowed under the policy "close".
            ChannelReleased: the channel was released meanwhile; ChannelLayerClosed, which is one: the layer was closed.
        """
        raise NotImplementedError

    async def new_channel(self, prefix: str = "specific") -> str:
        """The name of a new channel that belongs to this process and event loop. Costs no round trip."""
        raise NotImplementedError

    async def release_channel(self, channel: str) -> None:
        """Give `channel` up: it leaves all its groups, its messages are dropped, who waits on it is told. Idempotent.

        Consumers do this when they end, however they end.
        """
        raise NotImplementedError

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group`. Idempotent. What is sent to the group after this returns reaches it.

        The membership lives as long as the process that owns the channel. A released channel joins nothing.
        """
        raise NotImplementedError

    async def group_discard(self, group: str, channel: str) -> None:
        """Take `channel` out of `group`. Idempotent."""
        raise NotImplementedError

    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        """Send `message` to every member of `group`. A member that is full loses this message alone, counted and
        logged.

        Args:
            group: one group or several; a channel that is a member of more than one of them gets the message once.
            message: what each member gets.
            exclude: channels that do not get it.
            expiry: seconds for which this message is kept, instead of the layer's (no effect on pub/sub).

        Raises:
            ServerUnreachable: no server for `send_timeout` seconds; members whose server is there have the message.
            OutcomeUnknown: the connection broke between the sending and the answer.
        """
        raise NotImplementedError

    # Life

    async def flush(self) -> None:
        """Drop every message and every membership of the layer, in all processes where the layer keeps them."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of channels, memberships and connections. Idempotent; a closed layer opens again when it is used.

        This default is for a layer that holds nothing.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _close_loop(self) -> None:
        """Let go of what the running event loop holds of the layer, before that loop ends. This default is for a layer
        that holds nothing.
        """

    # Without an event loop

    @property
    def sync(self) -> SyncLayer:
        """The layer for code without an event loop: a thread, a task queue, a script. Always the same object."""
        made: SyncLayer | None = self.__dict__.get("_sync")
        if made is None:
            made = self.__dict__.setdefault("_sync", self._make_sync())  # of several threads, the first one wins
        return made

    def _make_sync(self) -> SyncLayer:
        return SyncLayer(self)

    def _close_sync(self) -> None:
        """Close `sync`, if there is one, without waiting for it."""
        made: SyncLayer | None = self.__dict__.get("_sync")
        if made is not None:
            made._close_soon()

    # Looking

    def statistics(self) -> LayerStatistics:
        """Counters of this process: plain numbers, nothing is asked of a server. Zeros where nothing is counted."""
        return LayerStatistics()

    async def inspect(self) -> dict[str, Any]:
        """What there is now, as plain data: channels with their depths, groups with their members, and the server."""
        return {"layer": type(self).__name__}

    async def ready(self, timeout: float = 1.0) -> Readiness:
        """Whether this event loop can send and hear now: for the readiness probe of an orchestrator, once a second.

        On the Redis layers: all servers answer, all subscriptions are in force, and what is sent to this process comes
        back through the server. A loop that had no inbox has one afterwards. This default, for a layer that needs no
        server, is always ready.

        Raises nothing: whatever is wrong is among the `problems`, and so is what took longer than `timeout` seconds.
        """
        return Readiness()

    # What consumers and workers use

    def reader(self, channel: str) -> ChannelReader:
        """A reader of `channel` that never needs a task of its own to wait. See `ChannelReader`.

        This default serves any layer through `receive()`; layers that hold mailboxes hand those out.
        """
        return PumpedReader(lambda: self.receive(channel))

    def delivery(self, channel: str) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Receive one message and give it back to the head of the channel if the block raises.

        A clean exit acknowledges it. Where the layer persists nothing (in-memory, pub/sub), the message is lost with
        the process.

        ```python
        async with layer.delivery("jobs") as message:
            await work(message)
        ```
        """
        return self._delivery(channel)

    @asynccontextmanager
    async def _delivery(self, channel: str) -> AsyncIterator[dict[str, Any]]:
        message = await self.receive(channel)
        kept = copy.deepcopy(message)  # a handler may change its own
        try:
            yield message
        except BaseException:
            await self._give_back(channel, kept)
            raise

    async def _give_back(self, channel: str, message: dict[str, Any]) -> None:
        """Put `message` back, for `delivery()`: at the head. This default, for any layer, can only send it again."""
        await self.send(channel, message)

    # Rules

    def _limit_size(self, max_message_size: int | None) -> None:
        """Take the argument of this name, if it is given."""
        if max_message_size is None:
            return
        if not isinstance(max_message_size, int) or max_message_size < 1:
            raise ValueError(f"max_message_size is a number of bytes, at least 1, not {max_message_size!r}")
        self.max_message_size = max_message_size

    def compile_capacities(self, channel_capacity: ChannelCapacityDict) -> CompiledChannelCapacities:
        """The globs of `channel_capacity` as patterns, in their order."""
        compiled: CompiledChannelCapacities = []
        for pattern, capacity in channel_capacity.items():
            _check_capacity(capacity)
            regex = re.compile(fnmatch.translate(pattern)) if isinstance(pattern, str) else pattern
            compiled.append((regex, capacity))
        return compiled

    def get_capacity(self, channel: str) -> int:
        """How many messages `channel` holds: the first pattern of `channel_capacity` that matches it, or `capacity`."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return capacity
        return self.capacity

    def non_local_name(self, name: str) -> str:
        """The part of a channel's name up to and including the `!`; a plain name as it is."""
        return names.non_local_name(name)

    def require_valid_channel_name(self, name: str, receive: bool = False) -> Literal[True]:
        """Raise `InvalidNameError` unless `name` is a channel's; with `receive`, a specific one must end at its `!`."""
        names.check_channel_name(name)
        if receive and names.is_specific(name) and not name.endswith("!"):
            raise InvalidNameError("Specific channel names in receive() must end at the !")
        return True

    def require_valid_group_name(self, name: str) -> Literal[True]:
        """Raise `InvalidNameError` unless `name` is a group's."""
        names.check_group_name(name)
        return True


_trial = MsgPackSerializer()


def raise_unless_all_sent(failures: Sequence[NotSent], count: int) -> None:
    """Raise `NotAllSent` if there are failures among `count` messages."""
    if failures:
        raise NotAllSent(failures, count - len(failures)) from failures[0].error


def require_dict(message: object) -> None:
    """Raise `InvalidMessageError` unless `message` is a dict."""
    if not isinstance(message, dict):
        raise InvalidMessageError(f"a message is a dict, not {type(message).__name__}")


def _check_capacity(capacity: object) -> None:
    if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
        raise ValueError(f"a capacity is a whole number of messages, at least 1, not {capacity!r}")
