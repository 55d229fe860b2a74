"""A message of the queue to groups: their members are read, and each gets it once."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.mailbox import is_worth_a_line
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.destinations import Member, before_payload
from fast_channels.layers.redis.foreign import shown
from fast_channels.layers.redis.hub import Hub
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.outbox import PASSING, PAUSE
from fast_channels.layers.redis.recipients import by_owner, recipients_of
from fast_channels.layers.redis.results import STORED, count_dropped
from fast_channels.layers.redis.scripts import MEMBERS, run
from fast_channels.layers.redis.ways import GroupOutlet
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["GroupLetters", "GroupSending", "head_and_context"]

logger = logging.getLogger("fast_channels.redis")

Encode = Callable[[Any, bytes], bytes]
"""The payload of a message, encrypted for a context."""

NOBODY: frozenset[str] = frozenset()


def head_and_context(keys: QueueKeys, audience: Audience, expiry: int) -> tuple[bytes, bytes]:
    """What stands before a message in an inbox, and what the message is encrypted for; `expiry` in milliseconds."""
    if audience.is_one_group:
        (group,) = audience.groups
        return pack_head("g", expiry, group), keys.group(group)
    text = audience.packed()
    return pack_head("m", expiry, text), keys.audience_context(text)


class GroupLetters:
    """What a message to an audience is for each inbox: to name who is excluded costs only the inboxes where they are.

    Args:
        head: what stands before it where nobody is excluded.
        context: what it is encrypted for there.
        expiry: milliseconds.
        encode: raises if the message cannot be encoded, here already.
        encrypted: whether the payload depends on what it is encrypted for.
    """

    def __init__(
        self,
        keys: QueueKeys,
        audience: Audience,
        head: bytes,
        context: bytes,
        message: Any,
        expiry: int,
        encode: Encode,
        *,
        encrypted: bool,
    ) -> None:
        self.message = message
        self.expiry = expiry
        self._keys = keys
        self._groups = audience.groups
        self._encode = encode
        self._encrypted = encrypted
        self._excluded = by_owner(audience.excluded) if audience.excluded else {}
        self.payload = encode(message, context)
        self._letters = {NOBODY: (head, self.payload)}

    def for_inbox(self, client: str) -> tuple[bytes, bytes]:
        """Head and payload for the inbox of `client`."""
        excluded = self._excluded.get(client, NOBODY)
        letter = self._letters.get(excluded)
        if letter is None:
            head, context = head_and_context(self._keys, Audience(self._groups, excluded), self.expiry)
            letter = self._letters[excluded] = head, self.payload_for(context)
        return letter

    def payload_for(self, context: bytes) -> bytes:
        """The payload for somebody who knows that context."""
        return self._encode(self.message, context) if self._encrypted else self.payload


class GroupSending:
    """Sends to groups, for all event loops of a layer."""

    def __init__(self, wiring: QueueWiring) -> None:
        self._wiring = wiring

    def __repr__(self) -> str:
        return f"<GroupSending of {self._wiring.keys.prefix!r}>"

    async def send(
        self, hub: Hub, outlets: Mapping[str, GroupOutlet], excluded: frozenset[str], letters: GroupLetters
    ) -> None:
        """Send to all; who cannot be reached does not keep it from the others.

        Raises:
            FastChannelsError: what went wrong first.
        """
        errors: list[Exception] = []
        members = await self._members_of_all(outlets, errors)
        found = recipients_of(members, excluded)
        for group, stranger in found.strangers:
            self._drop_stranger(outlets[group], stranger, group)
        posts: list[tuple[Member, asyncio.Future[str]]] = []
        for member in found.members:
            try:
                posts.append((member, self._post(hub, member, letters)))
            except ServerUnreachable as error:  # too much waits for its server
                errors.append(error)
        results: dict[Member, str] = {}
        for member, post in posts:
            try:
                results[member] = await post
            except Exception as error:
                errors.append(error)
        lost = [member for member, result in results.items() if result != STORED]
        if lost:
            reached = {member.client for member, result in results.items() if result == STORED}
            for member in lost:
                self._not_delivered(outlets, found.members[member], member, results[member], reached)
        if errors:
            raise errors[0]
        self._wiring.counters.group_sent += 1

    async def _members_of_all(
        self, outlets: Mapping[str, GroupOutlet], errors: list[Exception]
    ) -> dict[str, list[bytes]]:
        """The members of each group. What goes wrong is added to `errors`."""
        if len(outlets) == 1:
            return {group: await self._members(outlet) for group, outlet in outlets.items()}
        reading = (self._members(outlet) for outlet in outlets.values())
        found: dict[str, list[bytes]] = {}
        for group, members in zip(outlets, await asyncio.gather(*reading, return_exceptions=True), strict=True):
            if isinstance(members, list):
                found[group] = members
            elif isinstance(members, Exception):
                errors.append(members)
            else:
                raise members
        return found

    async def _members(self, outlet: GroupOutlet) -> list[bytes]:
        """The members of a group: asked again if the answer is lost, as nothing is sent by asking."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wiring.patience.send
        while True:
            try:
                members: list[bytes] = await run(outlet.link, MEMBERS, (outlet.key,))
                return members
            except OutcomeUnknown as error:
                if loop.time() >= deadline or not outlet.link.is_started:
                    raise ServerUnreachable(outlet.link.label, self._wiring.patience.send, error.cause) from None
            except ServerRefused as error:
                if loop.time() >= deadline or not error.answer.startswith(PASSING):
                    raise
                await asyncio.sleep(PAUSE)

    def _post(self, hub: Hub, member: Member, letters: GroupLetters) -> "asyncio.Future[str]":
        if member.client:
            head, payload = letters.for_inbox(member.client)
            return hub.ways.to_inbox(member.client).post(("", member.epoch, head, payload), len(payload))
        way = hub.ways.outlet(member.channel)
        payload = letters.payload_for(way.context)  # whoever receives there knows the channel alone
        before = before_payload(member.channel, way.capacity, letters.expiry)
        return way.outbox.post((*before, payload), len(payload))

    def _drop_stranger(self, outlet: GroupOutlet, stranger: bytes, group: str) -> None:
        """Take out what somebody else has put among the members: it would be met again with each message."""
        _take_out(outlet, stranger)
        if is_worth_a_line(self._wiring.counters.drop("undecodable")):
            logger.warning("%s in group %s is no member: taken out", shown(stranger), group)

    def _not_delivered(
        self, outlets: Mapping[str, GroupOutlet], groups: list[str], member: Member, result: str, reached: set[str]
    ) -> None:
        if result == "g":  # its name says of which life of the inbox it was, so this ends no later membership
            for group in groups:
                _take_out(outlets[group], f"i:{member.client}:{member.epoch}".encode())
            if member.client in reached:
                return  # in its present life, which was known as well
        count_dropped(self._wiring.counters, result, f"of group {', '.join(groups)}")


def _take_out(outlet: GroupOutlet, member: bytes) -> None:
    outlet.link.submit(packed(b"ZREM", outlet.key, member)).add_done_callback(_no_matter)


def _no_matter(reply: "asyncio.Future[Any]") -> None:
    """Whether a member that is gone was taken out of its group; if not, the next sender tries."""
    if not reply.cancelled():
        reply.exception()
