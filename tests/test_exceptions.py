"""The tree of the errors, what each says, and that it survives the way to another process."""

import copy
import pickle
import ssl
from collections.abc import Callable

import pytest

from fast_channels import exceptions
from fast_channels.exceptions import (
    AcceptConnection,
    ChannelFull,
    ChannelLayerClosed,
    ChannelReleased,
    DenyConnection,
    FastChannelsError,
    ForeignChannelError,
    InvalidChannelLayerError,
    InvalidMessageError,
    InvalidNameError,
    MailboxOverflow,
    MessageTooLarge,
    NotAllSent,
    NotSent,
    OutcomeUnknown,
    ServerRefused,
    ServerUnreachable,
    StopConsumer,
)
from fast_channels.serializers import SerializerDoesNotExist

SIGNALS = (AcceptConnection, DenyConnection, StopConsumer)

KINDS = {getattr(exceptions, name) for name in exceptions.__all__} - {NotSent}
"""All errors and signals; `NotSent` is a part of one."""

BASES: list[tuple[type[Exception], type[Exception]]] = [
    (InvalidChannelLayerError, ValueError),
    (InvalidNameError, TypeError),
    (InvalidMessageError, TypeError),
    (ForeignChannelError, AssertionError),
    (ServerUnreachable, ConnectionError),
    (OutcomeUnknown, ConnectionError),
    (SerializerDoesNotExist, KeyError),
]

FULL = NotSent(2, "jobs", ChannelFull("it is full"))
LOST = NotSent(7, "news", OutcomeUnknown("redis://h:1/0", "cut", message="cut"))

ERRORS: list[tuple[FastChannelsError, str]] = [
    (
        InvalidChannelLayerError.not_registered("xyz", ["queue", "chat"]),
        "Channel layer 'xyz' not registered (registered: 'chat', 'queue')",
    ),
    (
        InvalidChannelLayerError.not_registered("xyz", []),
        "Channel layer 'xyz' not registered (none is: call register_channel_layer() before the app is made)",
    ),
    (InvalidNameError("a name"), "a name"),
    (InvalidMessageError("a message"), "a message"),
    (
        MessageTooLarge(size=30, limit=20),
        "the message is 30 bytes when encoded; the layer's limit is 20 bytes",
    ),
    (MessageTooLarge("too much", size=30), "too much"),
    (
        ChannelFull(channel="jobs", capacity=100),
        "channel 'jobs' is full: 100 messages wait for its receiver",
    ),
    (ChannelFull("no room"), "no room"),
    (
        NotAllSent([FULL, LOST], 8),
        "2 of 10 messages were not sent: number 2 to jobs: it is full; number 7 to news: cut",
    ),
    (
        NotAllSent([NotSent(0, "a", ChannelFull("full"))] * 5, 0),
        "5 of 5 messages were not sent: number 0 to a: full; number 0 to a: full; number 0 to a: full; and 2 more",
    ),
    (
        MailboxOverflow("jobs", 100),
        "channel 'jobs' was closed: its receiver fell 100 messages behind",
    ),
    (
        ChannelReleased("jobs"),
        "channel 'jobs' was released while it was being received on",
    ),
    (
        ChannelLayerClosed("jobs"),
        "the layer was closed while channel 'jobs' was being received on",
    ),
    (
        ForeignChannelError("a.b!c"),
        "channel 'a.b!c' belongs to another process or layer: receive on names that new_channel() gave you here",
    ),
    (
        ForeignChannelError("a.b!c", "another event loop"),
        "channel 'a.b!c' belongs to another event loop: receive on names that new_channel() gave you here",
    ),
    (
        ServerUnreachable("redis://h:1/0", 5.04, "refused"),
        "redis://h:1/0 cannot be reached (waited 5.0 s): refused; is it running, and is the address right?",
    ),
    (
        ServerUnreachable("redis://h:1/0", 5, TimeoutError()),
        "redis://h:1/0 cannot be reached (waited 5.0 s): TimeoutError; is it running, and is the address right?",
    ),
    (
        ServerUnreachable("redis://h:1/0", 5),
        "redis://h:1/0 cannot be reached (waited 5.0 s); is it running, and is the address right?",
    ),
    (  # an error of TLS says itself what to do
        ServerUnreachable("rediss://h:1/0", 5, ssl.SSLError(1, "not trusted")),
        "rediss://h:1/0 cannot be reached (waited 5.0 s): not trusted",
    ),
    (
        OutcomeUnknown("redis://h:1/0", OSError("cut")),
        "the connection to redis://h:1/0 broke before it answered, the outcome is unknown: cut",
    ),
    (
        OutcomeUnknown("redis://h:1/0"),
        "the connection to redis://h:1/0 broke before it answered, the outcome is unknown",
    ),
    (ServerRefused("redis://h:1/0", "NOAUTH"), "redis://h:1/0 refused: NOAUTH"),
    (SerializerDoesNotExist("no such format"), "no such format"),
]

each_error = pytest.mark.parametrize(("error", "text"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])


# The tree


def test_every_error_has_the_one_root() -> None:
    assert {kind for kind in KINDS if not issubclass(kind, FastChannelsError)} == {*SIGNALS}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_is_no_error(signal: type[Exception]) -> None:
    assert not issubclass(signal, FastChannelsError), "`except FastChannelsError` would swallow it"


@pytest.mark.parametrize(("kind", "base"), BASES)
def test_an_error_is_also_what_existing_code_catches(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert exceptions.__doc__
    assert not [kind.__name__ for kind in KINDS if f"── {kind.__name__} " not in exceptions.__doc__]


# What they say


@each_error
def test_the_text_says_what_happened(error: FastChannelsError, text: str) -> None:
    assert str(error) == text


def test_every_error_is_in_the_table() -> None:
    kinds = KINDS - {*SIGNALS, FastChannelsError}
    assert kinds <= {type(error) for error, _ in ERRORS}


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (MessageTooLarge(size=30, limit=20), {"size": 30, "limit": 20}),
        (ChannelFull(channel="jobs", capacity=5), {"channel": "jobs", "capacity": 5}),
        (NotAllSent([FULL, LOST], 8), {"failures": (FULL, LOST), "sent": 8}),
        (MailboxOverflow("jobs", 5), {"channel": "jobs", "capacity": 5}),
        (ChannelReleased("jobs"), {"channel": "jobs"}),
        (ChannelLayerClosed("jobs"), {"channel": "jobs"}),
        (ForeignChannelError("a!b"), {"channel": "a!b"}),
        (ServerUnreachable("redis://h:1/0", 5, "cut"), {"server": "redis://h:1/0", "waited": 5, "cause": "cut"}),
        (OutcomeUnknown("redis://h:1/0", OSError("cut")), {"server": "redis://h:1/0", "cause": "cut"}),
        (ServerRefused("redis://h:1/0", "NOAUTH"), {"server": "redis://h:1/0", "answer": "NOAUTH"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_carries_fields(error: FastChannelsError, fields: dict[str, object]) -> None:
    assert vars(error) == fields


@pytest.mark.parametrize("kind", [ChannelFull, MessageTooLarge, InvalidChannelLayerError, *SIGNALS])
def test_an_error_can_be_raised_with_nothing(kind: type[Exception]) -> None:
    """Tests of applications do so: `raise ChannelFull`."""
    with pytest.raises(kind):
        raise kind


# Copies

COPIES: list[Callable[[FastChannelsError], FastChannelsError]] = [
    copy.copy,
    copy.deepcopy,
    lambda error: pickle.loads(pickle.dumps(error)),
]


@each_error
@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_copy_says_and_carries_the_same(
    error: FastChannelsError, text: str, copied: Callable[[FastChannelsError], FastChannelsError]
) -> None:
    found = copied(error)
    assert type(found) is type(error)
    assert str(found) == text
    assert repr(vars(found)) == repr(vars(error))  # errors within it are copies, too, and equal to nothing


def test_notes_go_along_with_a_copy() -> None:
    error = ChannelFull(channel="jobs", capacity=5)
    error.add_note("while sending the news")
    assert copy.copy(error).__notes__ == ["while sending the news"]
