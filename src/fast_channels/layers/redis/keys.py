"""Every name that the layers use on a server, and nowhere else.

Each begins with `prefix|`, so that `~asgi|*` and `&asgi|*` are the ACL of a layer, and `asgi` never reaches `asgi2`.
What follows says what it is, so that a channel is never taken for a group.
"""

from hashlib import sha256
from typing import NamedTuple

from fast_channels import names

__all__ = ["Addresses", "InboxKeys", "QueueKeys", "SharedKeys"]


class Addresses:
    """Where messages are published: the pub/sub channels of one prefix."""

    def __init__(self, prefix: str) -> None:
        names.check_prefix(prefix)
        self.prefix = prefix
        self._group = f"{prefix}|g|"
        self._shared = f"{prefix}|c|"
        self._inbox = f"{prefix}|i|"

    def group(self, group: str) -> bytes:
        """Where a group's messages go: every process that has a member is subscribed."""
        return (self._group + group).encode()

    def shared(self, channel: str) -> bytes:
        """Where the messages of a plain channel go: every process that receives there is subscribed."""
        return (self._shared + channel).encode()

    def inbox(self, client: str) -> bytes:
        """Where the messages of all specific channels of one client go."""
        return (self._inbox + client).encode()

    def audience_context(self, audience: str) -> bytes:
        """What a message is encrypted for that goes to several groups, or not to all members; an `Audience`, packed."""
        return f"{self.prefix}|m|{_digest(audience)}".encode()

    def everything(self) -> str:
        """A glob that matches all of them."""
        return f"{_glob_escaped(self.prefix)}|*"

    @staticmethod
    def thing_of(address: str) -> tuple[str, str]:
        """What is published there: to a `group`, a `channel` or the `inbox` of a process, and its name."""
        _, kind, name = f"{address}||".split("|")[:3]
        return {"g": "group", "c": "channel", "i": "inbox"}.get(kind, ""), name


class InboxKeys(NamedTuple):
    """The keys of one inbox, in one slot."""

    meta: bytes
    """Hash: the epoch, the end of the lease, how many messages came in and were read."""
    stream: bytes
    """The messages, many in an entry: pairs of a head and a payload."""
    accepted: bytes
    """Hash: direct messages accepted for each channel, ever."""
    handed: bytes
    """Hash: how many of them were handed over."""
    groups: bytes
    """Set: the groups that the inbox is a member of."""


class SharedKeys(NamedTuple):
    """The keys of one shared channel, in one slot."""

    ready: bytes
    """List: the ids of the messages that wait."""
    payloads: bytes
    """Hash: all messages, by id."""
    states: bytes
    """Hash: by id, how often a message was delivered, when it expires unless it was (0: never), when it came."""
    delayed: bytes
    """Sorted set: the ids of those that are delivered again later, by when."""
    held: bytes
    """Hash: by id, who has it now."""
    leases: bytes
    """Hash: by client, the start of its unbroken run of renewals and the end of its lease."""
    requests: bytes
    """Hash: by client, its last request and the ids that it got."""
    dead: bytes
    """Sorted set: the ids of the dead letters, by when they died."""
    reports: bytes
    """Hash: by id, why a message became a dead letter."""
    marks: bytes
    """Hash: the last id, and when the next message expires."""


class QueueKeys:
    """Where messages and memberships are kept: the keys of one prefix.

    What is in braces is what a Cluster hashes: the keys of one thing are in one slot.
    """

    def __init__(self, prefix: str) -> None:
        names.check_prefix(prefix)
        self.prefix = prefix

    def inbox(self, client: str) -> InboxKeys:
        """The keys of the inbox of one client."""
        slot = f"{self.prefix}|{{i:{client}}}|"
        return InboxKeys(*(f"{slot}{part}".encode() for part in InboxKeys._fields))

    def shared(self, channel: str) -> SharedKeys:
        """The keys of a shared channel."""
        slot = f"{self.prefix}|{{c:{channel}}}|"
        return SharedKeys(*(f"{slot}{part}".encode() for part in SharedKeys._fields))

    def group(self, group: str) -> bytes:
        """Sorted set: the members of a group, by when their membership runs out."""
        return f"{self.prefix}|{{g:{group}}}|members".encode()

    def leases(self) -> tuple[bytes, bytes]:
        """The leases of all clients: a sorted set of their ends, a hash of the starts of their runs."""
        slot = f"{self.prefix}|{{leases}}|"
        return f"{slot}ends".encode(), f"{slot}runs".encode()

    def answered(self, key: bytes, client: str) -> bytes:
        """String: what `client` was answered to its last batch for the thing that `key` belongs to."""
        return b"%b|answered|%b" % (key.rpartition(b"|")[0], client.encode())

    def confirmed(self, key: bytes) -> bytes:
        """String: written where the thing is that `key` belongs to, so that replicas can be waited for."""
        return b"%b|confirmed" % key.rpartition(b"|")[0]

    def wake(self, channel: str) -> bytes:
        """Where it is published that a shared channel has messages."""
        return f"{self.prefix}|{{c:{channel}}}|wake".encode()

    def channel_context(self, channel: str) -> bytes:
        """What a message for a channel, specific or shared, is encrypted for; for a group, it is the group's key."""
        return f"{self.prefix}|{{c:{channel}}}".encode()

    def audience_context(self, audience: str) -> bytes:
        """What a message is encrypted for that goes to several groups, or not to all members; an `Audience`, packed."""
        return f"{self.prefix}|{{m:{_digest(audience)}}}".encode()

    def control_context(self, client: str) -> bytes:
        """What a control entry is encrypted for."""
        return f"{self.prefix}|{{i:{client}}}".encode()

    def everything(self) -> str:
        """A glob that matches all of them."""
        return f"{_glob_escaped(self.prefix)}|*"

    @staticmethod
    def thing_of(key: bytes) -> tuple[str, str]:
        """What a key belongs to: the kind (`i` inbox, `g` group, `c` shared channel) and the name."""
        kind, _, name = key.decode(errors="replace").rpartition("}")[0].partition("|{")[2].partition(":")
        return kind, name


def _digest(text: str) -> str:
    """What stands for a text of any length."""
    return sha256(text.encode()).hexdigest()


def _glob_escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]^\\-" else character for character in text)
