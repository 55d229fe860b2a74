"""`layer.sync` of the queue layer."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fast_channels import names
from fast_channels.exceptions import NotSent
from fast_channels.layers.base import raise_unless_all_sent, require_dict
from fast_channels.layers.mailbox import is_worth_a_line
from fast_channels.layers.redis.absences import Absences
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.batches import Letter, deliver
from fast_channels.layers.redis.cluster_servers import Topology
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.destinations import (
    Destination,
    Member,
    before_payload,
    destination_of,
    inbox_destination,
)
from fast_channels.layers.redis.errands import Errand, Repeat
from fast_channels.layers.redis.foreign import shown
from fast_channels.layers.redis.group_sending import AudienceLetters, GroupLetters, head_and_context
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.mailroom import milliseconds
from fast_channels.layers.redis.outbox import Argument
from fast_channels.layers.redis.recipients import Recipients, unreached
from fast_channels.layers.redis.results import count_dropped, count_sent
from fast_channels.layers.redis.scripts import MEMBERS
from fast_channels.layers.redis.sync import RedisSyncLayer, Sender
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of
from fast_channels.layers.sync import check_no_loop

if TYPE_CHECKING:
    from fast_channels.layers.redis.queue import RedisChannelLayer

__all__ = ["QueueSyncLayer"]

logger = logging.getLogger("fast_channels.redis")

WAYS: Final = 10_000
"""Channels whose way is remembered; then all are forgotten."""


class _Way(NamedTuple):
    """The way to a channel."""

    destination: Destination
    before: tuple[Argument, ...]
    context: bytes
    capacity: int


class QueueSyncLayer(RedisSyncLayer):
    """Sends to the queue from any thread. See `SyncLayer`."""

    shortest_wait = 0.05

    _layer: "RedisChannelLayer"

    def _start_afresh(self) -> None:
        super()._start_afresh()
        self._ways: dict[str, _Way] = {}

    def _way_out(self) -> tuple[Topology, Patience]:
        return self._layer._wiring.topology, self._layer._wiring.patience

    # Direct messages

    def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        check_no_loop("send")
        check_expiry(expiry)
        letter = self._letter(channel, message, expiry)
        with self._senders.borrowed() as sender:
            (outcome,) = self._deliver(sender, [letter])
        self._count_sent(channel, outcome)

    def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]], *, expiry: float | None = None) -> None:
        check_no_loop("send_many")
        check_expiry(expiry)
        channels: list[str] = []
        letters: list[Letter] = []
        for channel, message in pairs_of(messages):
            letters.append(self._letter(channel, message, expiry))
            channels.append(channel)
        with self._senders.borrowed() as sender:
            outcomes = self._deliver(sender, letters)
        failures = []
        for index, (channel, outcome) in enumerate(zip(channels, outcomes, strict=True)):
            try:
                self._count_sent(channel, outcome)
            except Exception as error:
                failures.append(NotSent(index, channel, error))
        raise_unless_all_sent(failures, len(channels))

    def _letter(self, channel: str, message: dict[str, Any], expiry: float | None) -> Letter:
        way = self._way(channel)
        require_dict(message)
        payload = self._layer._encode(message, way.context)
        before = way.before if expiry is None else before_payload(channel, way.capacity, milliseconds(expiry))
        return Letter(way.destination, (*before, payload), len(payload))

    def _way(self, channel: str) -> _Way:
        way = self._ways.get(channel) if isinstance(channel, str) else None
        if way is None:
            names.check_channel_name(channel)
            wiring = self._layer._wiring
            capacity = wiring.get_capacity(channel)
            before = before_payload(channel, capacity, wiring.expiry)
            way = _Way(destination_of(wiring, channel), before, wiring.keys.channel_context(channel), capacity)
            if len(self._ways) >= WAYS:
                self._ways.clear()
            self._ways[channel] = way
        return way

    def _deliver(
        self, sender: Sender, letters: Sequence[Letter], absences: Absences | None = None
    ) -> list[str | Exception]:
        return deliver(sender, self._layer._wiring, letters, partial(self._count_drop, "expired"), absences)

    # Groups

    def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        check_no_loop("group_send")
        check_expiry(expiry)
        audience = Audience(groups_of(group), excluded_channels(exclude))
        require_dict(message)
        letters = self._group_letters(audience, message, expiry)
        errors = self._send_to_members(audience, letters)
        if errors:
            raise errors[0]
        with self._counting:
            self.counters.group_sent += 1

    def _group_letters(self, audience: Audience, message: dict[str, Any], expiry: float | None) -> GroupLetters:
        layer, keys = self._layer, self._layer._wiring.keys
        kept = layer._wiring.expiry if expiry is None else milliseconds(expiry)
        head, context = head_and_context(keys, Audience(audience.groups), kept)
        what = (message, layer._encode(message, context), head, kept, layer._encode if layer._encrypted else None)
        return AudienceLetters(keys, audience, *what) if audience.excluded else GroupLetters(*what)

    def _send_to_members(self, audience: Audience, letters: GroupLetters) -> list[Exception]:
        """Send to the members of all groups, each once; what went wrong.

        Who is known does not wait for the groups whose servers do not answer.
        """
        found: Recipients[str] = Recipients({}, [])
        outcomes: dict[Member, str | Exception] = {}
        absences = Absences(self._layer._wiring.patience.send)
        questions = {group: self._question(self._layer._wiring.keys.group(group)) for group in audience.groups}
        asked = dict(questions)

        def send_to_known() -> None:
            new: list[Member] = []
            for group in [group for group, question in asked.items() if question.is_done]:
                question = asked.pop(group)
                if question.error is None:
                    new += found.add(group, question.reply, audience.excluded)
            if not new:
                return
            with self._senders.borrowed() as sender:  # another one, while this call waits for groups
                sent = self._deliver(sender, [self._letter_to(member, letters) for member in new], absences)
            outcomes.update(zip(new, sent, strict=True))

        with self._senders.borrowed() as sender:
            meanwhile = send_to_known if len(questions) > 1 else None
            absences.carry_out(sender.courier, list(questions.values()), meanwhile)
        send_to_known()
        self._tidy(found, {member: result for member, result in outcomes.items() if isinstance(result, str)})
        errors = [question.error for question in questions.values() if question.error is not None]
        return errors + [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]

    def _question(self, key: bytes) -> Errand:
        return Errand(key, lambda whole: MEMBERS.command((key,), (), whole=whole), Repeat.FREELY)

    def _letter_to(self, member: Member, letters: GroupLetters) -> Letter:
        if member.client:
            head, payload = letters.for_inbox(member.client)
            destination = inbox_destination(self._layer._wiring, member.client)
            return Letter(destination, ("", member.epoch, head, payload), len(payload))
        way = self._way(member.channel)
        payload = letters.for_context(way.context)  # whoever receives there knows the channel alone
        before = before_payload(member.channel, way.capacity, letters.expiry)
        return Letter(way.destination, (*before, payload), len(payload))

    def _tidy(self, found: Recipients[str], results: Mapping[Member, str]) -> None:
        """Count what was not stored, and take out of the groups who is gone, or was never a member."""
        for group, stranger in found.strangers:
            if is_worth_a_line(self._count_drop("undecodable")):
                logger.warning("%s in group %s is no member: taken out", shown(stranger), group)
        gone, dropped = unreached(found, results)
        for result, groups in dropped:
            with self._counting:
                count_dropped(self.counters, result, f"of group {', '.join(groups)}")
        if gone:  # if that fails, the next sender tries
            with self._senders.borrowed() as sender:
                sender.courier.carry_out([self._removal(group, member) for group, member in gone])

    def _removal(self, group: str, member: bytes) -> Errand:
        key = self._layer._wiring.keys.group(group)
        return Errand(key, lambda _: packed(b"ZREM", key, member), Repeat.FREELY)

    # Counting

    def _count_sent(self, channel: str, outcome: str | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        with self._counting:
            count_sent(self.counters, outcome, channel, self._way(channel).capacity)

    def _count_drop(self, reason: str, count: int = 1) -> int:
        with self._counting:
            return self.counters.drop(reason, count)
