"""The channels and groups of one process or event loop: from a name to the mailboxes that get the message.

Every layer ends here: what arrives for a channel or a group is handed to `deliver` or `deliver_group`.
"""

import logging
from asyncio import _get_running_loop
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fast_channels.exceptions import ChannelLayerClosed, ChannelReleased
from fast_channels.layers.mailbox import OVERFLOW_POLICIES, Counters, Mailbox
from fast_channels.type_defs import OverflowPolicy

__all__ = ["Group", "LocalChannels", "check_overflow_policy"]

logger = logging.getLogger("fast_channels.layers")


class Group:
    """The members that a group has here.

    The mailboxes are kept as a tuple that is made anew when a membership changed: a send goes through it undisturbed by
    members that come and go meanwhile.
    """

    __slots__ = ("_change", "_mailboxes", "full", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Mailbox] = {}
        self.full = False
        """Whether an episode of members over capacity is under way."""
        self._mailboxes: tuple[Mailbox, ...] | None = None
        self._change = object()

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: {len(self.members)} members>"

    def add(self, mailbox: Mailbox) -> None:
        """Make `mailbox` a member."""
        self.members[mailbox.channel] = mailbox
        self._changed()

    def discard(self, channel: str) -> None:
        """Take `channel` out."""
        self.members.pop(channel, None)
        self._changed()

    def _changed(self) -> None:
        self._change = object()
        self._mailboxes = None

    @property
    def mailboxes(self) -> tuple[Mailbox, ...]:
        """The members' mailboxes, in the order in which they joined."""
        mailboxes = self._mailboxes
        if mailboxes is None:
            change = self._change
            mailboxes = self._mailboxes = tuple(self.members.values())
            if change is not self._change:  # another thread changed the members meanwhile
                self._mailboxes = None
        return mailboxes


class LocalChannels:
    """The channels that are received on here, and the groups that they are members of.

    Args:
        decode: makes a message of an entry, or `SKIPPED`.
        get_capacity: how many messages a channel holds.
        overflow: what a full mailbox does with one more.
        counters: where to count.
        is_stale: whether an entry is too old to be handed over; None: none ever is.
    """

    def __init__(
        self,
        decode: Callable[[Any], Any],
        get_capacity: Callable[[str], int],
        overflow: OverflowPolicy,
        counters: Counters,
        is_stale: Callable[[Any], bool] | None = None,
    ) -> None:
        self.mailboxes: dict[str, Mailbox] = {}
        self.groups: dict[str, Group] = {}
        self.counters = counters
        self._decode = decode
        self._get_capacity = get_capacity
        self._overflow: OverflowPolicy = overflow
        self._is_stale = is_stale

    def __repr__(self) -> str:
        return f"<LocalChannels: {len(self.mailboxes)} channels, {len(self.groups)} groups>"

    # Channels

    def open(self, channel: str) -> Mailbox:
        """The mailbox of `channel`, made if there is none."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            mailbox = self.mailboxes[channel] = Mailbox(
                channel, self._get_capacity(channel), self._overflow, self._decode, self.counters, self._is_stale
            )
        return mailbox

    def release(self, channel: str) -> list[str]:
        """Forget `channel`, its messages and its memberships, and tell those who wait on it.

        Returns the groups that have no member here any more.
        """
        mailbox = self.mailboxes.pop(channel, None)
        if mailbox is None:
            return []
        dropped = mailbox.shut(ChannelReleased)
        if dropped:
            self.counters.drop("channel_gone", dropped)
        return [group for group in tuple(mailbox.groups) if self.leave(group, channel)]

    def clear(self) -> None:
        """Forget all messages and memberships. The channels stay: who reads one need not wait for it right now."""
        self.groups.clear()
        for mailbox in tuple(self.mailboxes.values()):
            mailbox.clear()
            mailbox.groups.clear()

    def take_over(self, other: "LocalChannels") -> None:
        """Take the channels of `other`, whose event loop is closed, with their messages and memberships."""
        for channel, mailbox in other.mailboxes.items():
            mine = self.mailboxes.setdefault(channel, mailbox)
            if mine is not mailbox:
                mine.take_over(mailbox)
        for name, group in other.groups.items():
            for channel in group.members:
                self.join(name, self.mailboxes[channel])
        other.mailboxes.clear()
        other.groups.clear()

    def close(self) -> None:
        """Forget everything, and tell those who wait."""
        mailboxes = tuple(self.mailboxes.values())
        self.mailboxes.clear()
        self.groups.clear()
        for mailbox in mailboxes:
            mailbox.shut(ChannelLayerClosed)

    # Groups

    def join(self, name: str, mailbox: Mailbox) -> bool:
        """Make the channel of `mailbox` a member of the group; True if it is the first one here."""
        group = self.groups.get(name)
        first = group is None
        if group is None:
            group = self.groups[name] = Group(name)
        mailbox.groups.add(name)
        group.add(mailbox)
        return first

    def leave(self, name: str, channel: str) -> bool:
        """Take `channel` out of the group; True if nobody is left here."""
        group = self.groups.get(name)
        if group is None or channel not in group.members:
            return False
        group.members[channel].groups.discard(name)
        group.discard(channel)
        if group.members:
            return False
        del self.groups[name]
        return True

    # Messages

    def deliver(self, channel: str, entry: Any) -> bool:
        """Queue `entry` for `channel`; False if it was not: there is no such channel here, or it is full."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            self.counters.drop("channel_gone")
            return False
        if mailbox.put(entry):
            if mailbox.full and mailbox.has_drained():
                mailbox.full = False
            return True
        if not mailbox.full:
            mailbox.full = True
            logger.info("channel %s over capacity: %s", channel, mailbox.policy)
        return False

    def deliver_group(self, name: str, entry: Any, gets: Callable[[Mailbox], bool] | None = None) -> None:
        """Queue `entry` for every member of the group, or those that `gets` is true of. Who is full is counted, and
        logged when that begins.
        """
        group = self.groups.get(name)
        if group is None:
            return
        full = 0
        mailboxes: Sequence[Mailbox] = group.mailboxes
        if gets is not None:
            mailboxes = [mailbox for mailbox in mailboxes if gets(mailbox)]
        here = _get_running_loop()
        for mailbox in mailboxes:
            if not mailbox.put(entry, here):
                full += 1
        if full and not group.full:
            group.full = True
            logger.info("%d of %d channels over capacity in group %s", full, len(mailboxes), name)
        elif group.full and not full:
            group.full = not all(mailbox.has_drained() for mailbox in group.mailboxes)

    def deliver_groups(self, names: Sequence[str], entry: Any, excluded: frozenset[str]) -> None:
        """Queue `entry` once for every member of any of the groups but those in `excluded`."""
        earlier: set[str] = set()

        def gets(mailbox: Mailbox) -> bool:
            return mailbox.channel not in excluded and mailbox.groups.isdisjoint(earlier)

        for name in names:
            self.deliver_group(name, entry, gets)
            earlier.add(name)

    def queued(self) -> Iterator[tuple[str, int]]:
        """Each channel in which messages wait, with how many."""
        return ((channel, len(mailbox)) for channel, mailbox in tuple(self.mailboxes.items()) if mailbox)


def check_overflow_policy(overflow: str) -> None:
    """Raise ValueError unless `overflow` is a policy."""
    if overflow not in OVERFLOW_POLICIES:
        raise ValueError(f"overflow must be one of {', '.join(OVERFLOW_POLICIES)}, not {overflow!r}")
