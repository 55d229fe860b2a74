"""`layer.sync`: the layer for code that has no event loop."""

import asyncio
import weakref
from asyncio import _get_running_loop
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from fast_channels.exceptions import ChannelLayerClosed
from fast_channels.layers.background import BackgroundLoop
from fast_channels.layers.forking import leave_to_parent, start_afresh_in_children

if TYPE_CHECKING:
    from fast_channels.layers.base import BaseChannelLayer

__all__ = ["DirectSyncLayer", "SyncLayer", "sync_layer"]

Result = TypeVar("Result")

SENDING: Final = ("send", "send_many", "group_send")
"""The coroutines of a layer that send."""


class SyncLayer:
    """A channel layer for threads, task queues, scripts and shells: every call blocks until it is done.

    Any number of threads may use one. What is promised, and which errors say what, is as in the asynchronous layer.
    Inside a running event loop every call raises a RuntimeError that names the call to await.

    On the Redis layers, sending takes a connection that is kept, and neither a loop nor a thread. What needs somebody
    who lives on (channels, memberships, receiving) is done by one background thread, started when it is first needed:
    its channels live until `close()` or the end of the process. That thread also sends, for a class of somebody's own
    that sends in another way than the layer that it is derived from.

    A forked child starts afresh: with connections and an identity of its own, and without its parent's channels.

    `close()` is called when the interpreter exits; a layer that is closed opens again when it is used.
    """

    stands_for: ClassVar[tuple[str, ...]] = ()
    """The coroutines of the layer in whose place this does something else than to run them in a loop."""

    shortest_wait: ClassVar[float] = 0.0
    """Seconds for which `receive()` waits at least: in less, no server has answered."""

    def __init__(self, layer: "BaseChannelLayer") -> None:
        self._layer = layer
        self._start_afresh()
        start_afresh_in_children(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._layer!r}>"

    def _start_afresh(self) -> None:
        """Hold nothing: at the beginning, and in a forked child, whose parent goes on with what there was."""
        self._background = BackgroundLoop(partial(_close_loop, weakref.ref(self._layer)))
        self._finalizers: list[weakref.finalize[..., SyncLayer]] = [
            weakref.finalize(self, self._background.stop, quiet=True)
        ]

    def _after_fork(self) -> None:
        for finalizer in self._finalizers:
            finalizer.detach()
        leave_to_parent(self._background)
        self._start_afresh()

    # Sending

    def send(self, channel: str, message: Any, *, expiry: float | None = None) -> None:
        """Send `message` to one receiver of `channel` (pub/sub: to every process that receives there).

        Args:
            channel: its name, plain or specific.
            message: what its receiver gets.
            expiry: seconds for which this message is kept, instead of the layer's (no effect on pub/sub).

        Raises:
            ChannelFull: the channel holds `capacity` messages (not on pub/sub).
            ServerUnreachable: no server for `send_timeout` seconds; nothing was sent.
            OutcomeUnknown: the connection broke between the sending and the answer. On the queue, the message was sent
                again until `send_timeout` was over, and is never stored twice.
        """
        self._wait("send", lambda: self._layer.send(channel, message, **_given(expiry)))

    def send_many(self, messages: Iterable[tuple[str, Any]], *, expiry: float | None = None) -> None:
        """Send each message to its channel, in their order, without waiting for one before the next is sent.

        Args:
            messages: pairs of a channel and a message; all are checked before the first is sent.
            expiry: seconds for which these messages are kept, instead of the layer's (no effect on pub/sub).

        Raises:
            NotAllSent: some were not sent, for the reasons that it names; the others were.
        """
        self._wait("send_many", lambda: self._layer.send_many(messages, expiry=expiry))

    def group_send(
        self,
        group: str | Sequence[str],
        message: Any,
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
        options = _given(expiry) | ({"exclude": exclude} if exclude else {})
        self._wait("group_send", lambda: self._layer.group_send(group, message, **options))

    # Receiving

    def new_channel(self, prefix: str = "specific") -> str:
        """The name of a new channel that belongs to this process, until `release_channel()` or `close()`."""
        return self._wait("new_channel", lambda: self._layer.new_channel(prefix))

    def receive(self, channel: str, timeout: float | None = None) -> Any:
        """The next message of `channel`, as soon as there is one. A wait that ends without one loses nothing.

        Args:
            channel: a plain name, or one that `new_channel()` of this object gave.
            timeout: seconds to wait; None: as long as it takes; 0: for no longer than it takes to look.

        Raises:
            TimeoutError: none came in time.
            ForeignChannelError: a specific channel of another process, layer or event loop.
            ChannelReleased: the channel was released meanwhile; ChannelLayerClosed, which is one: the layer was closed.
        """
        call = partial(self._receive, channel, timeout)
        return self._wait("receive", call, lambda message: self._layer._give_back(channel, message))

    async def _receive(self, channel: str, timeout: float | None) -> Any:
        limit = asyncio.timeout(None if timeout is None else max(timeout, self.shortest_wait))
        try:
            async with limit:
                return await self._layer.receive(channel)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"no message on channel {channel!r} within {timeout:g} s") from None
        except asyncio.CancelledError:
            raise ChannelLayerClosed(channel) from None

    def release_channel(self, channel: str) -> None:
        """Give `channel` up: it leaves all its groups, its messages are dropped, who waits on it is told.
        Idempotent.
        """
        self._wait("release_channel", lambda: self._layer.release_channel(channel))

    # Groups

    def group_add(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group`. Idempotent. What is sent to the group after this returns reaches it.

        Raises:
            ServerUnreachable: no server in time.
            OutcomeUnknown: `channel` belongs to another process, which did not answer.
        """
        self._wait("group_add", lambda: self._layer.group_add(group, channel))

    def group_discard(self, group: str, channel: str) -> None:
        """Take `channel` out of `group`. Idempotent.

        Raises:
            ServerUnreachable: no server in time.
            OutcomeUnknown: `channel` belongs to another process, which did not answer.
        """
        self._wait("group_discard", lambda: self._layer.group_discard(group, channel))

    # Life

    def close(self) -> None:
        """Let go of the connections, and of the channels that were made here. Idempotent; it opens again when it is
        used.
        """
        check_no_loop("close")
        self._background.stop()

    def _close_soon(self) -> None:
        """`close()` for somebody who closes the whole layer, and waits for nothing."""
        self._background.stop(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Waiting

    def _wait(
        self,
        name: str,
        make: Callable[[], Coroutine[Any, Any, Result]],
        unclaimed: Callable[[Result], Coroutine[Any, Any, None]] | None = None,
    ) -> Result:
        check_no_loop(name)
        return self._background.run(make, unclaimed)


class DirectSyncLayer(SyncLayer):
    """For a layer that never waits for anything but messages: its coroutines run in the thread that calls."""

    stands_for = (*SENDING, "new_channel", "release_channel", "group_add", "group_discard")

    def _wait(
        self,
        name: str,
        make: Callable[[], Coroutine[Any, Any, Result]],
        unclaimed: Callable[[Result], Coroutine[Any, Any, None]] | None = None,
    ) -> Result:
        if unclaimed is not None:
            return super()._wait(name, make, unclaimed)
        check_no_loop(name)
        coroutine = make()
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: Result = done.value
            return result
        coroutine.close()
        raise RuntimeError(f"{name}() of {self._layer!r} waits for something")


def sync_layer(layer: "BaseChannelLayer", kind: "type[BaseChannelLayer]", special: type[SyncLayer]) -> SyncLayer:
    """`special`, which knows how layers of `kind` do what they do; the general one, if `layer` does it otherwise."""
    is_as_known = all(getattr(type(layer), name) is getattr(kind, name) for name in special.stands_for)
    return special(layer) if is_as_known else SyncLayer(layer)


def check_no_loop(name: str) -> None:
    """Raise RuntimeError if this thread runs an event loop, which would stand still meanwhile."""
    if _get_running_loop() is not None:
        raise RuntimeError(
            f"layer.sync.{name}() blocks, and an event loop runs in this thread: use await layer.{name}(…) there"
        )


def _given(expiry: float | None) -> dict[str, Any]:
    """A layer that was written before there was an expiry for each message has none."""
    return {} if expiry is None else {"expiry": expiry}


async def _close_loop(layer: "weakref.ref[BaseChannelLayer]") -> None:
    alive = layer()
    if alive is not None:
        await alive._close_loop()
