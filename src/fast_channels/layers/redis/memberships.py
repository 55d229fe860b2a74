"""The groups that an inbox or a shared channel is a member of: what is wanted, and what the server was told."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from fast_channels.exceptions import FastChannelsError, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Commands, Patience, forget
from fast_channels.layers.redis.scripts import JOIN, run
from fast_channels.layers.redis.wiring import LEASE

__all__ = ["GroupMemberships"]

logger = logging.getLogger("fast_channels.redis")

RENEW_EVERY: Final = 10.0
"""Seconds in which every membership is told to the server again."""

AT_ONCE: Final = 500
"""Memberships that are told in one go."""

SHORTEST: Final = 2 * LEASE
"""Milliseconds that a membership lasts at least: who lives may be silent for a lease, and then has all to renew."""

TRY_AGAIN: Final = 0.5
"""Seconds until the server is told again what it refused."""


class _Group:
    """One membership. Changes are made one after the other: what is wanted last holds."""

    __slots__ = ("refused", "told", "told_at", "tried", "wanted", "work")

    def __init__(self) -> None:
        self.wanted = False
        self.told: bytes | None = None  # the member that the server knows
        self.told_at = 0.0
        self.tried: bytes | None = None  # the member that it may know: the answer is not there, or was lost
        self.refused: ServerRefused | None = None
        self.work: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the server is being told; who was cancelled before it began could not say that it ended."""
        return self.work is not None and not self.work.done()


class GroupMemberships:
    """The groups of one member.

    Args:
        member: its name in groups; it may change, then `restore` is called.
        link_to: the link to the server of a key.
        lasts: milliseconds for which the server keeps a membership that nobody renews; two leases at least.
        noted_in: the key of the set where the groups are written down for who buries the member; None for no one.
        is_shared: whether other processes may end the membership: then it is kept up, and not made again.
    """

    def __init__(
        self,
        keys: QueueKeys,
        member: Callable[[], bytes],
        link_to: Callable[[bytes], Commands],
        patience: Patience,
        lasts: int,
        *,
        noted_in: bytes | None = None,
        is_shared: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._keys = keys
        self._member = member
        self._link_to = link_to
        self._patience = patience
        self._lasts = max(lasts, SHORTEST)
        self._noted_in = noted_in
        self._is_shared = is_shared
        self._groups: dict[str, _Group] = {}
        self._due: list[str] = []  # what is renewed next

    def __repr__(self) -> str:
        return f"<GroupMemberships of {self._member()!r}: {len(self._groups)}>"

    def __len__(self) -> int:
        return len(self._groups)

    async def join(self, group: str) -> None:
        """Become a member; returns when the server knows.

        Raises:
            ServerUnreachable: it does not know in time.
            ServerRefused: it will not have it.
        """
        state = self._groups.get(group) or self._groups.setdefault(group, _Group())
        state.wanted = True
        state.refused = None
        if self._is_shared and state.told is not None:  # somebody else may have ended it
            state.tried, state.told = state.told, None
        deadline = self._loop.time() + self._patience.send
        while (work := self._settle(group, state)) is not None:
            await asyncio.wait({work}, timeout=max(0.0, deadline - self._loop.time()))
            if state.refused is not None:
                raise state.refused
            if not work.done():
                link = self._link_to(self._keys.group(group))
                raise ServerUnreachable(link.label, self._patience.send, link.trouble)

    def leave(self, group: str) -> None:
        """Be no member any more; the server learns it as soon as it can.

        A loop that ends has cancelled what keeps the connection: a new one would outlive it. The lease ends anyway;
        should the loop go on, `renew` tells the server.
        """
        state = self._groups.get(group)
        if state is None:
            return
        state.wanted = False
        is_told = state.is_busy or self._is_settled(state) or self._link_to(self._keys.group(group)).is_started
        if is_told and self._settle(group, state) is None:
            self._drop(group, state)

    def _settle(self, group: str, state: _Group) -> "asyncio.Task[None] | None":
        """Bring the server in line with what is wanted; None if it is."""
        if not state.is_busy and not self._is_settled(state):
            state.work = self._loop.create_task(self._work(group, state), name=f"fast-channels group {group}")
        return state.work if state.is_busy else None

    def _is_settled(self, state: _Group) -> bool:
        return state.told == self._member() if state.wanted else state.told is state.tried is None

    def _drop(self, group: str, state: _Group) -> None:
        """Forget a membership that is over."""
        if self._groups.get(group) is state and not state.wanted and self._is_settled(state):
            del self._groups[group]

    def _done(self, group: str, state: _Group) -> None:
        """The running task has done its work on a membership."""
        if self._loop.is_closed():  # under it: the task is collected
            return
        if state.work is asyncio.current_task():
            state.work = None
        self._drop(group, state)

    async def _work(self, group: str, state: _Group) -> None:
        try:
            while not self._is_settled(state):
                wanted = state.wanted
                try:
                    await (self._tell_join(group, state) if wanted else self._tell_leave(group, state))
                except ServerRefused as error:
                    if state.refused is None:
                        logger.warning("group %s: %s; trying again", group, error)
                    state.refused = error
                    if wanted:
                        return  # who joins is told; who is a member already is renewed later
                    if state.told is None:
                        state.tried = None  # it was refused before, and never became a member
                    else:
                        await asyncio.sleep(TRY_AGAIN)
                except FastChannelsError:
                    await asyncio.sleep(0)  # the link waits for its server: once more
        finally:
            self._done(group, state)

    async def _tell_join(self, group: str, state: _Group, *, only_renew: bool = False) -> None:
        key, member, now = self._keys.group(group), self._member(), self._loop.time()
        if now - state.told_at > self._lasts / 1000:
            only_renew = False  # it has run out by itself
        state.tried = member
        link = self._link_to(key)
        telling = [run(link, JOIN, [key], self._lasts, "XX" if only_renew else "", member)]
        if self._noted_in is not None:  # noted first, so that whoever buries this member finds it
            telling.insert(0, self._link_to(self._noted_in).call(b"SADD", self._noted_in, group))
        if state.told not in (None, member):  # what it was called before is nobody
            telling.append(link.call(b"ZREM", key, state.told))
        await asyncio.gather(*telling)
        state.told_at = now
        if not only_renew or state.told == member:  # else somebody joins, and more is needed than to keep it up
            state.told, state.tried = member, None

    async def _tell_leave(self, group: str, state: _Group) -> None:
        key = self._keys.group(group)
        members = {member for member in (state.told, state.tried) if member is not None}
        if members:
            await self._link_to(key).call(b"ZREM", key, *members)
        if self._noted_in is not None:
            await self._link_to(self._noted_in).call(b"SREM", self._noted_in, group)
        state.told = state.tried = None

    def expect(self, groups: Iterable[str]) -> None:
        """Be a member of `groups`: the server is told with `restore`."""
        for group in groups:
            self._groups.setdefault(group, _Group()).wanted = True

    # Keeping them

    def renew(self, seconds: float) -> None:
        """Tell the server as many memberships again as fall into `seconds`, if all are told in `RENEW_EVERY`."""
        if not self._due:
            self._due = list(self._groups)
        count = max(1, round(len(self._groups) * seconds / min(RENEW_EVERY, self._lasts / 3000)))
        now, self._due = self._due[:count], self._due[count:]
        for group in now:
            state = self._groups.get(group)
            if state is None or state.is_busy:
                continue
            if state.wanted:
                _ = self._tell_again(group, state, only_renew=self._is_shared)
            else:
                self._settle(group, state)

    def _tell_again(self, group: str, state: _Group, *, only_renew: bool) -> "asyncio.Task[None]":
        state.work = self._loop.create_task(self._renew(group, state, state.work, only_renew))
        return state.work

    async def _renew(self, group: str, state: _Group, before: "asyncio.Task[None] | None", only_renew: bool) -> None:
        try:
            if before is not None:
                await asyncio.wait({before})
            if state.wanted:
                await self._tell_join(group, state, only_renew=only_renew)
        except FastChannelsError:
            pass  # it is told again at the next turn, or when the server is back
        finally:
            self._done(group, state)
            self._settle(group, state)  # it may have ended meanwhile

    async def restore(self, *, anew: bool) -> int:
        """Tell the server all of them again: it was away, or it (`anew`) has lost them. Returns how many there are."""
        wanted = [(group, state) for group, state in self._groups.items() if state.wanted]
        states = iter(wanted)
        while batch := list(islice(states, AT_ONCE)):
            only_renew = self._is_shared and not anew
            telling = {self._tell_again(*each, only_renew=only_renew) for each in batch if each[1].wanted}
            if telling:
                await asyncio.wait(telling)
        return len(wanted)

    async def close(self) -> None:
        """Leave all groups, if that can be done in time."""
        for group in tuple(self._groups):
            self.leave(group)
        work = {state.work for state in self._groups.values() if state.work is not None}
        if work:
            await asyncio.wait(work, timeout=1)
        self.forget()

    def abandon(self) -> None:
        """Let go of what was under way when the loop was closed under it."""
        for state in self._groups.values():
            if state.work is not None:
                forget(state.work)

    def forget(self) -> None:
        """Forget all groups without a word to the server, which has lost them on purpose."""
        groups, self._groups = self._groups, {}
        for state in groups.values():
            state.wanted, state.told, state.tried = False, None, None
            if state.work is not None:
                state.work.cancel()
