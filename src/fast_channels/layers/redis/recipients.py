"""To which inboxes and shared channels a message to groups goes. Nothing here sends anything."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

from fast_channels import names
from fast_channels.layers.redis.destinations import Member, read_member
from fast_channels.layers.redis.results import GONE, STORED

__all__ = ["Recipients", "Unreached", "by_owner", "unreached"]


Group = TypeVar("Group")

LONGEST: Final = 150
"""Bytes of a member that is remembered: a longer one was put there by somebody else."""


@lru_cache(maxsize=8192)
def _read(member: bytes) -> Member | None:
    return read_member(member)


class Recipients(NamedTuple, Generic[Group]):
    """Where a message goes."""

    members: dict[Member, list[Group]]
    """Each once, with the groups that name it. An inbox may be named in two of its lives: one of them is over."""
    strangers: list[tuple[Group, bytes]]
    """Groups with what is no member of them: somebody else has put it there."""

    def add(self, group: Group, listed: Sequence[bytes], excluded: Collection[str] = ()) -> list[Member]:
        """Add a group with its members as they stand on the server; those that no group before has named.

        Excluded channels of inboxes are left out by their owners; shared ones, here.
        """
        new = []
        for data in listed:
            member = _read(data) if len(data) <= LONGEST else read_member(data)
            if member is None:
                self.strangers.append((group, data))
            elif member in self.members:
                self.members[member].append(group)
            elif not member.channel or member.channel not in excluded:
                self.members[member] = [group]
                new.append(member)
        return new


class Unreached(NamedTuple, Generic[Group]):
    """Who did not get a message."""

    gone: list[tuple[Group, bytes]]
    """Members that are to be taken out of their groups: they would be met again with each message."""
    dropped: list[tuple[str, list[Group]]]
    """Letters of results to be counted, with the groups that the message was for."""


def unreached(found: Recipients[Group], results: Mapping[Member, str]) -> Unreached[Group]:
    """Who did not get the message, by what the scripts answered; a member without a result is not judged."""
    gone = list(found.strangers)
    dropped = []
    reached = {member.client for member, result in results.items() if result == STORED}
    for member, result in results.items():
        groups = found.members[member]
        if result == GONE:  # its name says of which life of the inbox it was, so this ends no later membership
            gone += [(group, f"i:{member.client}:{member.epoch}".encode()) for group in groups]
        if result != STORED and (result != GONE or member.client not in reached):  # else its present life got it
            dropped.append((result, groups))
    return Unreached(gone, dropped)


def by_owner(channels: Collection[str]) -> dict[str, frozenset[str]]:
    """The specific ones of the channels, by the client that owns them."""
    owned: defaultdict[str, set[str]] = defaultdict(set)
    for channel in channels:
        if names.is_specific(channel):
            owned[names.client_of(channel)].add(channel)
    return {client: frozenset(of_client) for client, of_client in owned.items()}
