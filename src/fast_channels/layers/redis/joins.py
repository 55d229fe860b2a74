"""Joining a group: a membership counts from when the server knows of it, and one that failed is taken back."""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from fast_channels.layers.local import LocalChannels
from fast_channels.layers.mailbox import Mailbox

__all__ = ["Joins"]


class Joins:
    """The memberships of some local channels that nobody was promised yet.

    A join that fails takes back only a membership that nobody was promised: an older one stays, and so does one that
    another join is still waiting for.

    Args:
        local: the channels.
        leave: takes a channel out of a group, here and on the server.
    """

    def __init__(self, local: LocalChannels, leave: Callable[[str, str], None]) -> None:
        self._local = local
        self._leave = leave
        self._waiting: dict[tuple[str, str], int] = {}  # how many wait for each to be confirmed

    def __repr__(self) -> str:
        return f"<Joins: {len(self._waiting)} unconfirmed>"

    async def join(self, group: str, channel: str, confirmed: Callable[[], Awaitable[None]]) -> None:
        """Make `channel` a member of `group`; a channel that is gone joins nothing.

        `confirmed` returns when the server knows that the group has a member here; what it raises is raised.
        """
        mailbox = self._local.mailboxes.get(channel)
        if mailbox is None:
            return
        membership = (group, channel)
        if group not in mailbox.groups:
            self._waiting.setdefault(membership, 0)
        self._local.join(group, mailbox)
        if membership in self._waiting:
            self._waiting[membership] += 1
        try:
            await confirmed()
        except BaseException:
            self._take_back(membership)
            raise
        self._waiting.pop(membership, None)

    def confirmed(self, mailbox: Mailbox) -> AbstractSet[str]:
        """The groups that a channel is a member of as far as its server knows, or was told before."""
        if not self._waiting:
            return mailbox.groups
        return {group for group in mailbox.groups if (group, mailbox.channel) not in self._waiting}

    def _take_back(self, membership: tuple[str, str]) -> None:
        joining = self._waiting.get(membership)
        if joining is None:
            return
        if joining > 1:
            self._waiting[membership] = joining - 1
            return
        del self._waiting[membership]
        self._leave(*membership)
