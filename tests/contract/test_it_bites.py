"""The contract finds out layers that break a promise: each of these breaks one."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fast_channels import names
from fast_channels.exceptions import ChannelFull, NotAllSent, NotSent
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, LayerStatistics, Readiness
from fast_channels.layers.reader import ChannelReader, PumpedReader
from fast_channels.testing.contract import ChannelLayerContract, harness


class Sloppy(InMemoryChannelLayer):
    """In-memory, with something wrong."""


class LosesOnCancel(Sloppy):
    async def receive(self, channel: str) -> dict[str, Any]:
        message = await super().receive(channel)
        await asyncio.sleep(0)  # whoever cancels here takes the message along
        return message


class LastInFirstOut(Sloppy):
    async def receive(self, channel: str) -> dict[str, Any]:
        waiting = [await super().receive(channel) for _ in range(max(1, len(self.channels.get(channel, []))))]
        for message in waiting[:-1]:
            await self.send(channel, message)
        return waiting[-1]


class HandsOutTwice(Sloppy):
    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        await super().send(channel, message)
        await super().send(channel, message)


class OneReceiverOnly(Sloppy):
    busy = False

    async def receive(self, channel: str) -> dict[str, Any]:
        if self.busy:
            await asyncio.Event().wait()
        self.busy = True
        try:
            return await super().receive(channel)
        finally:
            self.busy = False


class TrustsTheSeed(Sloppy):
    async def new_channel(self, prefix: str = "specific") -> str:
        return names.specific_name(prefix, self.client_prefix, str(random.randrange(10**12)))


class ForgetsToLeave(Sloppy):
    async def group_discard(self, group: str, channel: str) -> None:
        pass


class JoinsTwice(Sloppy):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.joined: Counter[str] = Counter()

    async def group_add(self, group: str, channel: str) -> None:
        await super().group_add(group, channel)
        self.joined[channel] += 1

    async def group_send(self, group: str | Sequence[str], message: dict[str, Any], **options: Any) -> None:
        await super().group_send(group, message, **options)
        for channel, count in self.joined.items():
            for _ in range(count - 1):
                await self.send(channel, message)


class SharesMessages(Sloppy):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.messages: dict[int, dict[str, Any]] = {}

    async def receive(self, channel: str) -> dict[str, Any]:
        message = await super().receive(channel)
        return self.messages.setdefault(message["number"], message)


class HoldsAnyNumber(Sloppy):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "capacity": 10**6})


class CapacityOfTheLayer(Sloppy):
    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        if sum(map(len, self.channels.values())) >= self.capacity:
            raise ChannelFull(channel=channel)
        await super().send(channel, message)


class SaysNothing(Sloppy):
    async def group_send(self, group: str | Sequence[str], message: dict[str, Any], **options: Any) -> None:
        logging.disable()
        try:
            await super().group_send(group, message, **options)
        finally:
            logging.disable(logging.NOTSET)


class NeverForgets(Sloppy):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "expiry": 3600})


class KeepsReleased(Sloppy):
    async def release_channel(self, channel: str) -> None:
        self.require_valid_channel_name(channel)


class TakesPythonObjects(Sloppy):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.objects: list[dict[str, Any]] = []

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        self.objects.append(message)
        await super().send(channel, {"index": len(self.objects) - 1})

    async def receive(self, channel: str) -> dict[str, Any]:
        index: int = (await super().receive(channel))["index"]
        return self.objects[index]


class TakesAnyName(Sloppy):
    async def group_send(self, group: str | Sequence[str], message: dict[str, Any], **options: Any) -> None:
        if isinstance(group, str) and group.strip() == group:
            await super().group_send(group, message, **options)


class GivesBackToTheEnd(Sloppy):
    @asynccontextmanager
    async def _delivery(self, channel: str) -> AsyncIterator[dict[str, Any]]:
        message = await self.receive(channel)
        kept = dict(message)
        try:
            yield message
        except BaseException:
            await self.send(channel, kept)
            raise


class ReadsAhead(Sloppy):
    def reader(self, channel: str) -> ChannelReader:
        return PumpedReader(lambda: self.receive(channel))


class ClosesForGood(Sloppy):
    closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()

    async def new_channel(self, prefix: str = "specific") -> str:
        if self.closed:
            raise RuntimeError("closed")
        return await super().new_channel(prefix)


class BelongsToALoop(Sloppy):
    loop: asyncio.AbstractEventLoop | None = None

    async def new_channel(self, prefix: str = "specific") -> str:
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return await super().new_channel(prefix)


class NeverReady(Sloppy):
    async def ready(self, timeout: float = 1.0) -> Readiness:
        return Readiness(("nobody asked for it",))


class CountsNothing(Sloppy):
    def statistics(self) -> LayerStatistics:
        return LayerStatistics()


class LeavesTasksBehind(Sloppy):
    async def new_channel(self, prefix: str = "specific") -> str:
        async def fail() -> None:
            raise ZeroDivisionError

        self.task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        del self.task
        return await super().new_channel(prefix)


class ReceivesAnywhere(Sloppy):
    async def receive(self, channel: str) -> dict[str, Any]:
        try:
            return await super().receive(channel)
        except AssertionError:
            return {}


Pairs = Iterable[tuple[str, dict[str, Any]]]


class SendsBeforeItLooks(Sloppy):
    async def send_many(self, messages: Pairs, *, expiry: float | None = None) -> None:
        for channel, message in messages:
            await self.send(channel, message, expiry=expiry)


class StopsAtTheFirstThatFails(Sloppy):
    async def send_many(self, messages: Pairs, *, expiry: float | None = None) -> None:
        for index, (channel, message) in enumerate(messages):
            try:
                await self.send(channel, message, expiry=expiry)
            except ChannelFull as error:
                raise NotAllSent([NotSent(index, channel, error)], index) from None


class SendsTheLastFirst(Sloppy):
    async def send_many(self, messages: Pairs, *, expiry: float | None = None) -> None:
        await super().send_many(list(messages)[::-1], expiry=expiry)


class SendsToEachGroup(Sloppy):
    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        for name in [group] if isinstance(group, str) else group:
            await super().group_send(name, message, exclude=exclude, expiry=expiry)


class ExcludesNobody(Sloppy):
    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        await super().group_send(group, message, expiry=expiry)


class ExcludesForEver(Sloppy):
    async def group_send(
        self, group: str | Sequence[str], message: dict[str, Any], *, exclude: Collection[str] = (), **options: Any
    ) -> None:
        for channel in exclude:
            await self.group_discard(str(group), channel)
        await super().group_send(group, message, exclude=exclude, **options)


class HasOneExpiry(Sloppy):
    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        await super().send(channel, message)


class HasOneExpiryForGroups(Sloppy):
    async def group_send(
        self, group: str | Sequence[str], message: dict[str, Any], *, expiry: float | None = None, **options: Any
    ) -> None:
        await super().group_send(group, message, **options)


BROKEN = [
    (LosesOnCancel, "test_a_receiver_cancelled_all_the_time_loses_nothing"),
    (LosesOnCancel, "test_several_receivers_cancelled_all_the_time_lose_nothing"),
    (LastInFirstOut, "test_messages_of_a_sender_arrive_in_order"),
    (HandsOutTwice, "test_a_message_arrives"),
    (OneReceiverOnly, "test_each_message_goes_to_one_of_several_receivers"),
    (TrustsTheSeed, "test_new_channels_are_unique_after_seeding"),
    (ForgetsToLeave, "test_who_left_gets_nothing_more"),
    (JoinsTwice, "test_joining_twice_is_joining_once"),
    (SharesMessages, "test_one_members_changes_are_invisible_to_another"),
    (HoldsAnyNumber, "test_a_full_channel_refuses_and_stores_nothing"),
    (HoldsAnyNumber, "test_capacity_is_exact_with_many_senders"),
    (HoldsAnyNumber, "test_a_full_member_alone_loses_the_groups_message"),
    (CapacityOfTheLayer, "test_a_full_channel_leaves_the_others_alone"),
    (SaysNothing, "test_one_line_is_logged_for_each_episode"),
    (NeverForgets, "test_an_old_message_is_never_handed_over"),
    (NeverForgets, "test_old_messages_leave_room"),
    (KeepsReleased, "test_a_released_channel_has_left_its_groups"),
    (KeepsReleased, "test_a_released_channel_drops_what_is_queued"),
    (KeepsReleased, "test_a_released_channel_joins_nothing"),
    (TakesPythonObjects, "test_values_come_out_as_msgpack_carries_them"),
    (TakesPythonObjects, "test_what_cannot_be_encoded_is_refused_at_the_call"),
    (TakesPythonObjects, "test_what_happens_to_a_message_after_its_sending_changes_nothing"),
    (TakesAnyName, "test_bad_group_names_are_refused"),
    (GivesBackToTheEnd, "test_an_exception_gives_the_message_back_to_the_head"),
    (ReadsAhead, "test_what_a_reader_did_not_take_stays"),
    (ClosesForGood, "test_a_closed_layer_opens_again_when_it_is_used"),
    (BelongsToALoop, "test_one_loop_after_another"),
    (NeverReady, "test_a_layer_that_works_is_ready"),
    (CountsNothing, "test_statistics_count"),
    (CountsNothing, "test_what_is_sent_to_a_released_channel_is_counted"),
    (LeavesTasksBehind, "test_a_message_arrives"),
    (SendsBeforeItLooks, "test_bad_input_among_many_messages_sends_none"),
    (StopsAtTheFirstThatFails, "test_of_many_messages_those_are_named_that_were_not_sent"),
    (SendsTheLastFirst, "test_many_messages_arrive_in_their_order"),
    (SendsToEachGroup, "test_a_member_of_several_groups_gets_a_message_once"),
    (SendsToEachGroup, "test_a_full_member_of_several_groups_loses_a_message_once"),
    (SendsToEachGroup, "test_any_members_any_groups_and_any_exceptions"),
    (SendsToEachGroup, "test_bad_names_among_groups_and_exceptions_are_refused"),
    (ExcludesNobody, "test_who_is_excluded_gets_nothing"),
    (ExcludesNobody, "test_a_full_member_that_is_excluded_loses_nothing"),
    (ExcludesNobody, "test_any_members_any_groups_and_any_exceptions"),
    (ExcludesForEver, "test_what_is_sent_to_an_excluded_channel_itself_arrives"),
    (HasOneExpiry, "test_a_message_may_expire_earlier_than_others"),
    (HasOneExpiry, "test_a_message_may_expire_later_than_others"),
    (HasOneExpiry, "test_an_expiry_that_is_no_time_is_refused"),
    (HasOneExpiryForGroups, "test_a_message_may_expire_earlier_than_others"),
    (ReceivesAnywhere, "test_receiving_on_a_channel_of_another_layer_is_an_assertion_error"),
]


class Contract(ChannelLayerContract):
    timeout = 1


def making(kind: type[InMemoryChannelLayer]) -> Callable[..., BaseChannelLayer]:
    def make(prefix: str = "", **options: Any) -> BaseChannelLayer:
        return kind(**options)

    return make


@pytest.mark.parametrize(("kind", "promise"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_promise_is_found(
    kind: type[InMemoryChannelLayer], promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "PATIENCE", 0.2)
    check = getattr(Contract(), promise)
    check(making(InMemoryChannelLayer))
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        check(making(kind))
    assert not isinstance(caught.value, AttributeError | NameError)


class Alone(Contract):
    """A layer that says of itself that it shares, and does not."""

    shared_between_layers = True


SHARED = [
    "test_a_message_reaches_a_channel_of_another_layer_in_order",
    "test_a_group_spans_layers",
    "test_a_channel_of_another_layer_may_be_added_to_a_group",
    "test_a_message_on_a_plain_channel_reaches_one_layer_or_all",
]


@pytest.mark.parametrize("promise", SHARED)
def test_layers_that_do_not_share_are_found(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PATIENCE", 0.2)
    with pytest.raises((TimeoutError, AssertionError)):
        getattr(Alone(), promise)(making(InMemoryChannelLayer))


@pytest.mark.parametrize(
    "promise",
    ["test_a_prefix_that_begins_with_another_is_another_world", "test_a_flush_ends_at_the_prefix"],
)
def test_prefixes_that_do_not_part_are_found(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "PATIENCE", 0.2)
    only = InMemoryChannelLayer()
    with pytest.raises((TimeoutError, AssertionError)):
        getattr(Alone(), promise)(lambda **options: only)
