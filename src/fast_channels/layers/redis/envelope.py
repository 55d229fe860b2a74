"""What stands around a message in an inbox, which many channels share.

A direct message: the length of the channel's name (1 byte, never 0), the name, the payload. A control entry: a zero
byte, then the payload, an encoded `Control`.

Groups and shared channels have an address of their own: their messages need no envelope. One that goes to several
groups, or not to all members, is published to each group with its audience before it: a byte that no MessagePack, no
JSON and no encrypted message begins with, the audience, a zero byte, the payload.
"""

from typing import Final, NamedTuple

__all__ = ["MARK", "Control", "open_addressed", "open_envelope", "pack_addressed", "pack_control", "pack_direct"]

MARK: Final = b"\xc1"
"""What a message that names its audience begins with."""


class Control(NamedTuple):
    """A request of one process to another, or the answer to one."""

    op: str
    """`join` or `leave` (of a group by a channel that the addressee owns), or `done`."""
    id: int
    """The sender's number of the request; `done` repeats it."""
    client: str
    """Who asks, and gets the answer."""
    group: str = ""
    channel: str = ""


def pack_direct(channel: str, payload: bytes) -> bytes:
    """The envelope of a message for `channel`, whose name is ASCII and shorter than 100 characters."""
    return b"%c%b%b" % (len(channel), channel.encode(), payload)


def pack_control(payload: bytes) -> bytes:
    """The envelope of a control entry."""
    return b"\0" + payload


def pack_addressed(audience: str, payload: bytes) -> bytes:
    """A message to groups with its audience, packed."""
    return b"%b%b\0%b" % (MARK, audience.encode(), payload)


def open_addressed(data: bytes) -> tuple[str, bytes]:
    """The audience and the payload of what begins with the mark.

    Raises:
        ValueError: no audience.
    """
    audience, end, payload = data.removeprefix(MARK).partition(b"\0")
    if not end:
        raise ValueError("a truncated envelope")
    return audience.decode("ascii"), payload


def open_envelope(data: bytes) -> tuple[bytes, bytes]:
    """The channel and the payload; the channel of a control entry is empty.

    Raises:
        ValueError: no envelope.
    """
    end = data[0] + 1 if data else 1
    if len(data) < end:
        raise ValueError("a truncated envelope")
    return data[1:end], data[end:]
