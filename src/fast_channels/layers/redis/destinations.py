"""Where messages of the queue are stored, as the scripts that store them are told: for senders with and without a loop.

Nothing here sends anything.
"""

from typing import NamedTuple

from fast_channels import names
from fast_channels.layers.redis.foreign import is_plain, shown
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.outbox import ANSWER_KEPT, Argument
from fast_channels.layers.redis.scripts import APPEND, PUSH, Script
from fast_channels.layers.redis.wiring import INBOX_BOUND, QueueWiring

__all__ = [
    "Destination",
    "Member",
    "before_payload",
    "destination_of",
    "inbox_destination",
    "read_answer",
    "read_member",
]


class Destination(NamedTuple):
    """An inbox or a shared channel."""

    name: str
    """Tells it from all others of its layer."""
    script: Script
    """Adds a batch, or repeats its answer."""
    keys: tuple[bytes, ...]
    """What the script is given, but for the last one: what its sender was answered."""
    mark: bytes
    """The key from which the name of that one is made."""
    arguments: tuple[Argument, ...]
    """What stands before the messages, after the number of the batch."""

    def keys_for(self, keys: QueueKeys, sender: str) -> tuple[bytes, ...]:
        """All keys of the script, for one sender."""
        return (*self.keys, keys.answered(self.mark, sender))


def destination_of(wiring: QueueWiring, channel: str) -> Destination:
    """Where the messages of a channel are stored."""
    if names.is_specific(channel):
        return inbox_destination(wiring, names.client_of(channel))
    keys = wiring.keys.shared(channel)
    stored = (keys.ready, keys.payloads, keys.states, keys.delayed, keys.marks)
    arguments = (_answer_kept(wiring), wiring.keys.wake(channel))
    return Destination(f"c{channel}", PUSH, stored, keys.ready, arguments)


def inbox_destination(wiring: QueueWiring, client: str) -> Destination:
    """Where all messages for the channels of a client are stored."""
    keys = wiring.keys.inbox(client)
    return Destination(f"i{client}", APPEND, keys[:4], keys.meta, (INBOX_BOUND, _answer_kept(wiring)))


def _answer_kept(wiring: QueueWiring) -> int:
    return max(ANSWER_KEPT, round(3000 * wiring.patience.send))  # longer than anybody tries again


def before_payload(channel: str, capacity: int, expiry: int) -> tuple[Argument, ...]:
    """What stands before the payload of a direct message; `expiry` is in milliseconds."""
    if names.is_specific(channel):
        return capacity, channel, pack_head("d", expiry, channel)
    return capacity, expiry


def read_answer(answer: bytes) -> tuple[int, str]:
    """What a script answered: how many messages had expired, and a letter for each of the batch."""
    expired, colon, results = answer.decode().rpartition(":")
    return int(expired) if colon else 0, results


class Member(NamedTuple):
    """A member of a group: the inbox of `client` in the life that `epoch` names, or else a shared channel."""

    client: str = ""
    epoch: str = ""
    channel: str = ""


def read_member(member: bytes) -> Member | None:
    """A member as it stands on the server; None if somebody else has put it there, and it is none."""
    kind, _, name = shown(member).partition(":")
    if kind == "i":
        client, _, epoch = name.partition(":")
        return Member(client, epoch) if is_plain(client) and epoch.isdigit() else None
    return Member(channel=name) if kind == "c" and is_plain(name) else None
