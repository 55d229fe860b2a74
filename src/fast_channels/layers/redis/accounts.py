"""How many direct messages were handed over: what the capacity of a channel is judged by on the server."""

from collections.abc import Callable, Iterator

__all__ = ["Account", "Accounts", "pairs"]


class Account:
    """The direct messages of one channel, in totals."""

    __slots__ = ("channel", "handed", "pending")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.handed = 0
        """Handed over, or expired before that. Below zero after the server has lost what it had counted: then it
        counts from zero, and what waits here must count as well.
        """
        self.pending = 0
        """Read, and not handed over yet."""

    def __repr__(self) -> str:
        return f"<Account of {self.channel!r}: {self.handed} handed over, {self.pending} pending>"


class Accounts:
    """The accounts of one inbox, and what the server was not told of yet.

    Args:
        on_change: called when there is something to tell, once until `take()`.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._accounts: dict[str, Account] = {}
        self._changed: set[Account] = set()
        self._gone: set[str] = set()

    def __repr__(self) -> str:
        return f"<Accounts: {len(self._accounts)} channels, {len(self._changed)} changed, {len(self._gone)} gone>"

    def receive(self, channel: str) -> Account:
        """A direct message for `channel` was read."""
        account = self._accounts.get(channel)
        if account is None:
            account = self._accounts[channel] = Account(channel)
        account.pending += 1
        return account

    def hand_over(self, account: Account) -> None:
        """One of its messages was handed over."""
        account.handed += 1
        account.pending -= 1
        if account not in self._changed and account.channel in self._accounts:
            self._will_change()
            self._changed.add(account)

    def release(self, channel: str) -> None:
        """The channel is gone: what the server has counted for it is not needed."""
        account = self._accounts.pop(channel, None)
        if account is not None:
            self._changed.discard(account)
        self._will_change()
        self._gone.add(channel)

    def recount(self) -> None:
        """The server has lost what it had counted: it is told what waits."""
        for account in self._accounts.values():
            account.handed = -account.pending
            self._will_change()
            self._changed.add(account)

    def clear(self) -> None:
        """The server has forgotten all, and so does this."""
        self._accounts.clear()
        self._changed.clear()
        self._gone.clear()

    def take(self) -> tuple[list[str], list[Account]]:
        """The channels that are gone, and the accounts that changed, since the last time."""
        gone, changed = list(self._gone), list(self._changed)
        self._gone.clear()
        self._changed.clear()
        return gone, changed

    def put_back(self, gone: list[str], changed: list[Account]) -> None:
        """The server could not be told: it is told later."""
        self._gone.update(channel for channel in gone if channel not in self._accounts)
        self._changed.update(account for account in changed if self._accounts.get(account.channel) is account)

    @property
    def changed(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._changed or self._gone)

    def _will_change(self) -> None:
        if not self._changed and not self._gone:
            self._on_change()


def pairs(accounts: list[Account]) -> Iterator[str | int]:
    """Name and total of each, one after the other."""
    for account in accounts:
        yield account.channel
        yield account.handed
