"""What stands around a message in an inbox, which many channels share.

A direct message: the length of the channel's name (1 byte, never 0), the name, the payload. A control entry: a zero
byte, then the payload, an encoded `Control`. Groups and shared channels have an address of their own: their messages
need no envelope.
"""

from typing import NamedTuple

__all__ = ["Control", "open_envelope", "pack_control", "pack_direct"]


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


def open_envelope(data: bytes) -> tuple[bytes, bytes]:
    """The channel and the payload; the channel of a control entry is empty.

    Raises:
        ValueError: no envelope.
    """
    end = data[0] + 1 if data else 1
    if len(data) < end:
        raise ValueError("a truncated envelope")
    return data[1:end], data[end:]
