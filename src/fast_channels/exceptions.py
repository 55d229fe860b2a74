"""Every error of the library, in one tree.

```
Exception
├── FastChannelsError               the root of the library's errors
│   ├── InvalidChannelLayerError    (ValueError) no such alias, or a layer that cannot do what is asked
│   ├── InvalidNameError            (TypeError) a channel or group name outside the grammar
│   ├── InvalidMessageError         (TypeError) a message that is no dict, or that cannot be encoded
│   ├── MessageTooLarge             a message over the size limit
│   ├── ChannelFull                 a direct send to a channel that holds `capacity` messages
│   ├── NotAllSent                  `send_many()` sent some of its messages, and others not
│   ├── MailboxOverflow             a receiver that fell behind under the policy "close"
│   ├── ChannelReleased             the channel was released while `receive()` waited
│   │   └── ChannelLayerClosed      the layer was closed meanwhile, and all its channels with it
│   ├── ForeignChannelError         (AssertionError) receiving on a channel of another process or loop
│   ├── ServerUnreachable           (ConnectionError) no server within the time allowed: nothing was sent
│   ├── OutcomeUnknown              (ConnectionError) sent, but the connection broke before the answer
│   ├── ServerRefused               the server answered with an error
│   └── SerializerDoesNotExist      (KeyError, in `serializers`) a format that is not registered
├── AcceptConnection                raise in `connect()` to accept
├── DenyConnection                  raise in `connect()` to refuse
└── StopConsumer                    raise in a handler to end the consumer
```

The last three are signals, not errors: `except FastChannelsError` never swallows them.
"""

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

__all__ = [
    "AcceptConnection",
    "ChannelFull",
    "ChannelLayerClosed",
    "ChannelReleased",
    "DenyConnection",
    "FastChannelsError",
    "ForeignChannelError",
    "InvalidChannelLayerError",
    "InvalidMessageError",
    "InvalidNameError",
    "MailboxOverflow",
    "MessageTooLarge",
    "NotAllSent",
    "NotSent",
    "OutcomeUnknown",
    "ServerRefused",
    "ServerUnreachable",
    "StopConsumer",
]


class FastChannelsError(Exception):
    """The root of the library's errors. Each can be copied and pickled: task queues send them to other processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # the text is made of the arguments: making the error again would need those
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[FastChannelsError], args: tuple[Any, ...]) -> FastChannelsError:
    error = kind.__new__(kind)
    error.args = args
    return error


class InvalidChannelLayerError(FastChannelsError, ValueError):
    """A channel layer that is not registered, or that cannot do what was asked of it."""

    @classmethod
    def not_registered(cls, alias: str, known: Iterable[str]) -> "InvalidChannelLayerError":
        """The error for an unknown `alias`, naming the aliases there are."""
        return cls(not_registered_text(alias, known))


def not_registered_text(alias: str, known: Iterable[str]) -> str:
    """Say that `alias` is not registered and what to do about it."""
    names = ", ".join(repr(name) for name in sorted(known))
    hint = f"registered: {names}" if names else "none is: call register_channel_layer() before the app is made"
    return f"Channel layer '{alias}' not registered ({hint})"


class InvalidNameError(FastChannelsError, TypeError):
    """A channel or group name outside the grammar of `fast_channels.names`."""


class InvalidMessageError(FastChannelsError, TypeError):
    """A message that is not a dict, or that holds a value no serializer can encode."""


class MessageTooLarge(FastChannelsError):
    """A message whose encoded form is larger than the layer's limit; nothing was sent."""

    def __init__(self, message: str = "", *, size: int = 0, limit: int = 0) -> None:
        self.size = size
        self.limit = limit
        super().__init__(message or f"the message is {size} bytes when encoded; the layer's limit is {limit} bytes")


class ChannelFull(FastChannelsError):
    """A direct send to a channel that already holds `capacity` messages; nothing was stored."""

    def __init__(self, message: str = "", *, channel: str = "", capacity: int = 0) -> None:
        self.channel = channel
        self.capacity = capacity
        super().__init__(message or f"channel {channel!r} is full: {capacity} messages wait for its receiver")


@dataclass(frozen=True, slots=True)
class NotSent:
    """A message of `send_many()` that was not sent, or of which it is not known."""

    index: int
    """Its place among the messages, from 0."""
    channel: str
    error: Exception
    """What `send` would have raised for it: `ChannelFull`, `ServerUnreachable`, `OutcomeUnknown`, …."""


class NotAllSent(FastChannelsError):
    """Some messages of a `send_many()` were not sent; all the others were.

    `failures` are those that were not, in their order; `sent` is how many were.
    """

    def __init__(self, failures: Sequence[NotSent], sent: int) -> None:
        self.failures = tuple(failures)
        self.sent = sent
        count = len(self.failures)
        first = "; ".join(f"number {each.index} to {each.channel}: {each.error}" for each in islice(failures, 3))
        more = f"; and {count - 3} more" if count > 3 else ""
        super().__init__(f"{count} of {count + sent} messages were not sent: {first}{more}")


class MailboxOverflow(FastChannelsError):
    """`receive()` of a channel that overflowed under the policy "close": what was queued is gone.

    A consumer answers it by closing its socket with code 1013 (try again later).
    """

    def __init__(self, channel: str, capacity: int) -> None:
        self.channel = channel
        self.capacity = capacity
        super().__init__(f"channel {channel!r} was closed: its receiver fell {capacity} messages behind")


class ChannelReleased(FastChannelsError):
    """The channel was released while `receive()` waited: nothing comes there any more."""

    _text = "channel {!r} was released while it was being received on"

    def __init__(self, channel: str) -> None:
        self.channel = channel
        super().__init__(self._text.format(channel))


class ChannelLayerClosed(ChannelReleased):
    """The layer was closed while `receive()` waited: the channel is gone. A closed layer opens again on use."""

    _text = "the layer was closed while channel {!r} was being received on"


class ForeignChannelError(FastChannelsError, AssertionError):
    """`receive()` of a specific channel that another process, layer or event loop owns."""

    def __init__(self, channel: str, owner: str = "another process or layer") -> None:
        self.channel = channel
        super().__init__(f"channel {channel!r} belongs to {owner}: receive on names that new_channel() gave you here")


class ServerUnreachable(FastChannelsError, ConnectionError):
    """No server could be reached within the time allowed. Nothing was sent.

    `server` names it without its password, `waited` is in seconds, `cause` says what went wrong last.
    """

    def __init__(self, server: str, waited: float, cause: BaseException | str | None = None) -> None:
        self.server = server
        self.waited = waited
        self.cause = _text(cause)
        reason = f": {self.cause}" if self.cause else ""
        hint = "" if isinstance(cause, ssl.SSLError) else "; is it running, and is the address right?"
        super().__init__(f"{server} cannot be reached (waited {waited:.1f} s){reason}{hint}")


class OutcomeUnknown(FastChannelsError, ConnectionError):
    """A command was sent, and the connection broke before the server answered: it may have happened or not.

    With `durability="replicated"` also: the server has the message, and no replica confirmed it.

    `server` names it without its password, `cause` says what went wrong.
    """

    def __init__(self, server: str, cause: BaseException | str | None = None, *, message: str = "") -> None:
        self.server = server
        self.cause = _text(cause)
        reason = f": {self.cause}" if self.cause else ""
        super().__init__(
            message or f"the connection to {server} broke before it answered, the outcome is unknown{reason}"
        )


def _text(cause: BaseException | str | None) -> str:
    """What `cause` says; of an error that says nothing, its kind."""
    return str(cause) or type(cause).__name__ if cause else ""


class ServerRefused(FastChannelsError):
    """The server answered a command with an error, given in its own words."""

    def __init__(self, server: str, answer: str) -> None:
        self.server = server
        self.answer = answer
        super().__init__(f"{server} refused: {answer}")


class AcceptConnection(Exception):
    """Raise in `connect()` to accept the connection."""


class DenyConnection(Exception):
    """Raise in `connect()` to refuse the connection."""


class StopConsumer(Exception):
    """Raise in a handler to end the consumer: it leaves its groups and its application call returns."""
