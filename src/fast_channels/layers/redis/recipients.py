"""To which inboxes and shared channels a message to groups goes. Nothing here sends anything."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from fast_channels import names
from fast_channels.layers.redis.destinations import Member, read_member

__all__ = ["Recipients", "by_owner", "recipients_of"]


class Recipients(NamedTuple):
    """Where a message goes."""

    members: dict[Member, list[str]]
    """Each once, with the groups that name it. An inbox may be named in two of its lives: one of them is over."""
    strangers: list[tuple[str, bytes]]
    """Groups with what is no member of them: somebody else has put it there."""


def recipients_of(members: Mapping[str, Sequence[bytes]], excluded: Collection[str]) -> Recipients:
    """The recipients, from the members of each group as they stand on the server.

    Excluded channels of inboxes are left out by their owners; shared ones, here.
    """
    found: dict[Member, list[str]] = {}
    strangers = []
    for group, listed in members.items():
        for data in listed:
            member = read_member(data)
            if member is None:
                strangers.append((group, data))
            elif not member.channel or member.channel not in excluded:
                found.setdefault(member, []).append(group)
    return Recipients(found, strangers)


def by_owner(channels: Collection[str]) -> dict[str, frozenset[str]]:
    """The specific ones of the channels, by the client that owns them."""
    owned: defaultdict[str, set[str]] = defaultdict(set)
    for channel in channels:
        if names.is_specific(channel):
            owned[names.client_of(channel)].add(channel)
    return {client: frozenset(of_client) for client, of_client in owned.items()}
