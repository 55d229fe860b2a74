"""A message of the queue to groups: their members are read, and each gets it once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
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
from fast_channels.layers.redis.recipients import Recipients, by_owner, unreached
from fast_channels.layers.redis.results import STORED, count_dropped
from fast_channels.layers.redis.scripts import MEMBERS, run
from fast_channels.layers.redis.ways import GroupOutlet
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["AudienceLetters", "GroupLetters", "GroupSending", "head_and_context"]

logger = logging.getLogger("fast_channels.redis")

Encode = Callable[[Any, bytes], bytes]
"""The payload of a message, encrypted for a context."""

Post = asyncio.Future[str]


def head_and_context(keys: QueueKeys, audience: Audience, expiry: int) -> tuple[bytes, bytes]:
    """What stands before a message in an inbox, and what the message is encrypted for; `expiry` in milliseconds."""
    if audience.is_one_group:
        (group,) = audience.groups
        return pack_head("g", expiry, group), keys.group(group)
    text = audience.packed()
    return pack_head("m", expiry, text), keys.audience_context(text)


class GroupLetters:
    """What a message to groups is for each inbox.

    Args:
        payload: encrypted, if it is, for what inboxes know.
        head: what stands before it there.
        expiry: milliseconds.
        encode: makes a payload for somebody who knows something else; None: it is the same for everybody.
    """

    def __init__(self, message: Any, payload: bytes, head: bytes, expiry: int, encode: Encode | None) -> None:
        self.message = message
        self.expiry = expiry
        self._payload = payload
        self._head = head
        self._encode = encode

    def for_inbox(self, client: str) -> tuple[bytes, bytes]:
        """Head and payload for the inbox of `client`."""
        return self._head, self._payload

    def for_context(self, context: bytes) -> bytes:
        """The payload for somebody who knows that context."""
        return self._payload if self._encode is None else self._encode(self.message, context)


class AudienceLetters(GroupLetters):
    """The same where some channels are excluded: to name them costs only the inboxes where they are."""

    def __init__(self, keys: QueueKeys, audience: Audience, *what: Any) -> None:
        super().__init__(*what)
        self._keys = keys
        self._groups = audience.groups
        self._excluded = by_owner(audience.excluded)

    def for_inbox(self, client: str) -> tuple[bytes, bytes]:
        excluded = self._excluded.get(client)
        if excluded is None:
            return super().for_inbox(client)
        head, context = head_and_context(self._keys, Audience(self._groups, excluded), self.expiry)
        return head, self.for_context(context)


class GroupSending:
    """Sends to groups, for all event loops of a layer."""

    def __init__(self, wiring: QueueWiring) -> None:
        self._wiring = wiring

    def __repr__(self) -> str:
        return f"<GroupSending of {self._wiring.keys.prefix!r}>"

    async def send(
        self, hub: Hub, groups: Sequence[GroupOutlet], letters: GroupLetters, excluded: Collection[str] = ()
    ) -> None:
        """Send to all members; who cannot be reached does not keep it from the others.

        Raises:
            FastChannelsError: what went wrong first.
        """
        errors: list[Exception] = []
        found: Recipients[GroupOutlet] = Recipients({}, [])
        posts: list[tuple[Member, Post]] = []

        async def send_to(group: GroupOutlet) -> None:
            new = found.add(group, await self._members(group), excluded)
            posts.extend(self._posted(hub, new, letters, errors))

        if len(groups) == 1:
            await send_to(groups[0])
        else:
            errors += await _failures(send_to(group) for group in groups)
        results = {}
        for member, post in posts:
            try:
                results[member] = await post
            except Exception as error:
                errors.append(error)
        if found.strangers or any(result != STORED for result in results.values()):
            self._tidy(found, results)
        if errors:
            raise errors[0]
        self._wiring.counters.group_sent += 1

    def _posted(
        self, hub: Hub, members: Iterable[Member], letters: GroupLetters, errors: list[Exception]
    ) -> list[tuple[Member, Post]]:
        """What is on its way to each. What goes wrong is added to `errors`."""
        posts = []
        for member in members:
            try:
                posts.append((member, self._post(hub, member, letters)))
            except ServerUnreachable as error:  # too much waits for its server
                errors.append(error)
        return posts

    def _post(self, hub: Hub, member: Member, letters: GroupLetters) -> Post:
        if member.client:
            head, payload = letters.for_inbox(member.client)
            return hub.ways.to_inbox(member.client).post(("", member.epoch, head, payload), len(payload))
        way = hub.ways.outlet(member.channel)
        payload = letters.for_context(way.context)  # whoever receives there knows the channel alone
        before = before_payload(member.channel, way.capacity, letters.expiry)
        return way.outbox.post((*before, payload), len(payload))

    # Who is in a group

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

    # Who is not

    def _tidy(self, found: Recipients[GroupOutlet], results: Mapping[Member, str]) -> None:
        """Count who did not get the message, and take out of the groups who is gone, or was never a member."""
        for group, stranger in found.strangers:
            if is_worth_a_line(self._wiring.counters.drop("undecodable")):
                logger.warning("%s in group %s is no member: taken out", shown(stranger), group.name)
        gone, dropped = unreached(found, results)
        for group, member in gone:
            _take_out(group, member)
        for result, groups in dropped:
            count_dropped(self._wiring.counters, result, f"of group {', '.join(group.name for group in groups)}")


async def _failures(doing: Iterable[Awaitable[None]]) -> list[Exception]:
    """Do it all at once; what went wrong."""
    errors = []
    for error in await asyncio.gather(*doing, return_exceptions=True):
        if isinstance(error, Exception):
            errors.append(error)
        elif error is not None:
            raise error
    return errors


def _take_out(outlet: GroupOutlet, member: bytes) -> None:
    outlet.link.submit(packed(b"ZREM", outlet.key, member)).add_done_callback(_no_matter)


def _no_matter(reply: "asyncio.Future[Any]") -> None:
    """Whether a member that is gone was taken out of its group; if not, the next sender tries."""
    if not reply.cancelled():
        reply.exception()
