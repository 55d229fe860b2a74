"""A mailbox is bounded, does as its policy says when it is full, and wakes who waits, in whichever loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.exceptions import ChannelLayerClosed, MailboxOverflow
from fast_channels.layers.mailbox import OVERFLOW_POLICIES, SKIPPED, Counters, Mailbox
from fast_channels.layers.reader import EMPTY
from fast_channels.type_defs import OverflowPolicy
from tests.support.waiting import until

OLD = -1
"""An entry that is too old, where the mailbox looks at that."""


def decode(entry: Any) -> Any:
    return SKIPPED if entry == OLD else [entry]


def mailbox_of(
    capacity: int = 3,
    policy: OverflowPolicy = "drop_newest",
    entries: int = 0,
    is_stale: Callable[[Any], bool] | None = None,
) -> tuple[Mailbox, Counters]:
    """A mailbox that holds the first `entries` numbers, and what it counts in."""
    counters = Counters()
    mailbox = Mailbox("jobs", capacity, policy, decode, counters, is_stale)
    for number in range(entries):
        mailbox.put(number)
    return mailbox, counters


def left_in(mailbox: Mailbox) -> list[Any]:
    messages = []
    while (message := mailbox.take()) is not EMPTY:
        messages += message
    return messages


def waiter_in(mailbox: Mailbox) -> "asyncio.Future[None]":
    waiter = asyncio.get_running_loop().create_future()
    mailbox.add_waiter(waiter)
    return waiter


async def waiting(mailbox: Mailbox, count: int = 1) -> list["asyncio.Task[Any]"]:
    """Tasks that wait for a message, in the order in which they began."""
    tasks = [asyncio.create_task(mailbox.receive()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


# The queue


def test_messages_come_out_in_order() -> None:
    mailbox, _ = mailbox_of(entries=3)
    assert left_in(mailbox) == [0, 1, 2]


def test_an_empty_mailbox_says_so() -> None:
    mailbox, counters = mailbox_of()
    assert mailbox.take() is EMPTY
    assert repr(EMPTY) == "EMPTY"
    assert counters.received == 0


def test_what_is_handed_over_is_counted() -> None:
    mailbox, counters = mailbox_of(entries=3)
    mailbox.take()
    mailbox.take()
    assert counters.received == 2


def test_each_message_is_decoded_when_it_is_taken() -> None:
    decoded: list[int] = []

    def remember(entry: int) -> int:
        decoded.append(entry)
        return entry

    mailbox = Mailbox("jobs", 2, "drop_newest", remember, Counters())
    for number in range(5):
        mailbox.put(number)
    assert decoded == []
    mailbox.take()
    assert decoded == [0]


def test_what_must_not_be_handed_over_is_passed_over() -> None:
    mailbox, counters = mailbox_of()
    for entry in (OLD, 1, OLD):
        mailbox.put(entry)
    assert left_in(mailbox) == [1]
    assert counters.received == 1


def test_what_is_put_back_comes_first() -> None:
    mailbox, _ = mailbox_of(entries=2)
    mailbox.take()
    mailbox.put_back(0)
    assert left_in(mailbox) == [0, 1]


def test_a_full_mailbox_takes_back_what_it_had_accepted() -> None:
    mailbox, counters = mailbox_of(capacity=2, entries=2)
    mailbox.put_back(9)
    assert left_in(mailbox) == [9, 0, 1]
    assert counters.dropped == {}


def test_a_look_takes_nothing() -> None:
    mailbox, counters = mailbox_of(entries=2)
    mailbox.put(OLD)
    assert mailbox.peek() == [[0], [1]]
    assert len(mailbox) == 3
    assert counters.received == 0


def test_the_state_shows() -> None:
    mailbox, _ = mailbox_of(entries=2)
    assert repr(mailbox) == "<Mailbox 'jobs': 2 of 3, 0 waiting>"


def test_clearing_says_how_many_there_were() -> None:
    mailbox, _ = mailbox_of(entries=3)
    assert (mailbox.clear(), mailbox.clear()) == (3, 0)


# Full


@pytest.mark.parametrize(("policy", "left"), [("drop_newest", [0, 1, 2]), ("drop_oldest", [2, 3, 4])])
def test_a_full_mailbox_drops_the(policy: OverflowPolicy, left: list[int]) -> None:
    mailbox, counters = mailbox_of(policy=policy, entries=5)
    assert counters.dropped == {"over_capacity": 2}
    assert left_in(mailbox) == left


@pytest.mark.parametrize("policy", OVERFLOW_POLICIES)
def test_who_puts_is_told_when_it_was_full(policy: OverflowPolicy) -> None:
    mailbox, _ = mailbox_of(capacity=1, policy=policy)
    assert [mailbox.put(number) for number in range(3)] == [True, False, False]


@pytest.mark.parametrize("policy", OVERFLOW_POLICIES)
@given(st.lists(st.booleans(), max_size=50))
def test_no_mailbox_holds_more_than_its_capacity_and_every_message_is_accounted_for(
    policy: OverflowPolicy, steps: list[bool]
) -> None:
    mailbox, counters = mailbox_of(policy=policy)
    put = 0
    for step in steps:
        if step:
            mailbox.put(put)
            put += 1
        elif len(mailbox):
            mailbox.take()
        assert len(mailbox) <= 3
        assert put == len(mailbox) + counters.received + counters.dropped.get("over_capacity", 0)


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_a_message_taken_makes_room_for_one(policy: OverflowPolicy) -> None:
    mailbox, _ = mailbox_of(policy=policy, entries=3)
    mailbox.take()
    assert [mailbox.put(3), mailbox.put(4)] == [True, False]


def test_it_has_drained_when_half_of_it_is_free() -> None:
    mailbox, _ = mailbox_of(capacity=4, entries=4)
    drained = []
    while len(mailbox):
        drained.append((len(mailbox), mailbox.has_drained()))
        mailbox.take()
    assert drained == [(4, False), (3, False), (2, True), (1, True)]


@pytest.mark.parametrize("capacity", [1, 2])
def test_a_small_mailbox_drains_too(capacity: int) -> None:
    mailbox, _ = mailbox_of(capacity=capacity, entries=capacity)
    mailbox.clear()
    assert mailbox.has_drained()


# Full, under the policy "close"


def test_an_overflow_throws_away_what_was_queued_and_counts_all_of_it() -> None:
    mailbox, counters = mailbox_of(policy="close", entries=4)
    assert len(mailbox) == 0
    assert counters.dropped == {"over_capacity": 4}


def test_an_overflow_is_an_error_of_the_receiver() -> None:
    mailbox, _ = mailbox_of(policy="close", entries=4)
    with pytest.raises(MailboxOverflow) as caught:
        mailbox.take()
    assert (caught.value.channel, caught.value.capacity) == ("jobs", 3)


def test_after_an_overflow_nothing_gets_in() -> None:
    mailbox, counters = mailbox_of(policy="close", entries=4)
    assert not mailbox.put(9)
    assert len(mailbox) == 0
    assert counters.dropped == {"over_capacity": 5}
    with pytest.raises(MailboxOverflow):
        mailbox.take()


async def test_everybody_who_waits_hears_of_an_overflow() -> None:
    mailbox, _ = mailbox_of(capacity=1, policy="close")
    tasks = await waiting(mailbox, 4)
    mailbox.put(0)
    mailbox.put(1)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [MailboxOverflow] * 4


async def test_who_comes_after_an_overflow_hears_of_it() -> None:
    mailbox, _ = mailbox_of(policy="close", entries=4)
    with pytest.raises(MailboxOverflow):
        await mailbox.receive()


# Too old


def test_what_is_too_old_at_the_head_makes_room() -> None:
    """The decoder sees it, which counts it."""
    decoded: list[int] = []

    def remember(entry: int) -> Any:
        decoded.append(entry)
        return decode(entry)

    mailbox = Mailbox("jobs", 2, "drop_newest", remember, Counters(), lambda entry: entry == OLD)
    for entry in (OLD, OLD, 1, 2):
        assert mailbox.put(entry)
    assert decoded == [OLD, OLD]
    assert left_in(mailbox) == [1, 2]


def test_only_the_head_is_looked_at() -> None:
    """Entries come in the order of their age: behind one that is young enough, all are."""
    looked_at: list[int] = []

    def remember(entry: int) -> bool:
        looked_at.append(entry)
        return False

    mailbox, _ = mailbox_of(entries=3, is_stale=remember)
    assert not mailbox.drop_stale()
    assert looked_at == [0]


def test_where_nothing_is_ever_too_old_nothing_is_dropped() -> None:
    mailbox, counters = mailbox_of(entries=3)
    assert not mailbox.drop_stale()
    assert counters.dropped == {}


def test_a_receiver_that_is_faster_than_the_judgement_loses_nothing() -> None:
    """Another thread takes the head while it is being judged: what comes next is not dropped in its place."""

    def is_stale(entry: Any) -> bool:
        if entry == OLD:
            assert mailbox.take() == [1]
        return bool(entry == OLD)

    mailbox, counters = mailbox_of(is_stale=is_stale)
    for entry in (OLD, 1, 2):
        mailbox.put(entry)
    assert not mailbox.drop_stale()
    assert left_in(mailbox) == [2]
    assert counters.dropped == {}


# Waiting


async def test_a_message_wakes_who_waits() -> None:
    mailbox, _ = mailbox_of()
    [task] = await waiting(mailbox)
    mailbox.put(1)
    assert await task == [1]


async def test_a_message_wakes_one_and_the_first_comes_first() -> None:
    mailbox, _ = mailbox_of()
    waiters = [waiter_in(mailbox) for _ in range(3)]
    mailbox.put(1)
    assert [waiter.done() for waiter in waiters] == [True, False, False]


async def test_each_of_several_receivers_gets_a_message() -> None:
    mailbox, _ = mailbox_of(capacity=10)
    tasks = await waiting(mailbox, 5)
    for number in range(5):
        mailbox.put(number)
    assert await asyncio.gather(*tasks) == [[0], [1], [2], [3], [4]]


async def test_a_waiter_is_woken_at_once_if_something_is_there() -> None:
    mailbox, _ = mailbox_of(entries=1)
    assert waiter_in(mailbox).done()


async def test_what_is_put_back_wakes_who_waits() -> None:
    mailbox, _ = mailbox_of()
    [task] = await waiting(mailbox)
    mailbox.put_back(7)
    assert await task == [7]


async def test_a_receiver_whose_message_was_taken_waits_on() -> None:
    mailbox, _ = mailbox_of()
    [task] = await waiting(mailbox)
    mailbox.put(1)
    assert mailbox.take() == [1]
    await asyncio.sleep(0)
    assert not task.done()
    mailbox.put(2)
    assert await task == [2]


async def test_a_waiter_that_gives_up_is_not_woken() -> None:
    mailbox, _ = mailbox_of()
    first, second = waiter_in(mailbox), waiter_in(mailbox)
    mailbox.discard_waiter(first)
    mailbox.put(1)
    assert [first.done(), second.done()] == [False, True]


async def test_giving_up_twice_is_no_error() -> None:
    mailbox, _ = mailbox_of()
    waiter = waiter_in(mailbox)
    mailbox.discard_waiter(waiter)
    mailbox.discard_waiter(waiter)
    assert repr(mailbox).endswith("0 waiting>")


async def test_a_waiter_that_was_woken_and_gives_up_wakes_the_next() -> None:
    mailbox, _ = mailbox_of()
    first, second = waiter_in(mailbox), waiter_in(mailbox)
    mailbox.put(1)
    mailbox.discard_waiter(first)
    assert second.done()


async def test_a_waiter_that_was_cancelled_is_passed_over() -> None:
    mailbox, _ = mailbox_of()
    first, second = waiter_in(mailbox), waiter_in(mailbox)
    first.cancel()
    mailbox.put(1)
    assert second.done()


async def test_a_receiver_that_is_cancelled_after_it_was_woken_passes_the_message_on() -> None:
    mailbox, _ = mailbox_of()
    first, second = await waiting(mailbox, 2)
    mailbox.put(1)
    first.cancel()
    assert await second == [1]
    assert first.cancelled()


async def test_a_receiver_that_is_cancelled_leaves_the_message() -> None:
    mailbox, counters = mailbox_of()
    [task] = await waiting(mailbox)
    mailbox.put(1)
    task.cancel()
    await asyncio.wait([task])
    assert left_in(mailbox) == [1]
    assert counters.received == 1


async def test_cancelled_receivers_leave_no_waiter_behind() -> None:
    mailbox, _ = mailbox_of()
    tasks = await waiting(mailbox, 100)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert repr(mailbox).endswith("0 waiting>")


# The end


async def test_shutting_tells_everybody_who_waits() -> None:
    mailbox, _ = mailbox_of()
    tasks = await waiting(mailbox, 3)
    mailbox.shut(ChannelLayerClosed)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(error), error.channel) for error in found] == [(ChannelLayerClosed, "jobs")] * 3  # type: ignore[union-attr]


def test_shutting_drops_what_is_queued() -> None:
    mailbox, _ = mailbox_of(entries=3)
    assert mailbox.shut(ChannelLayerClosed) == 3
    assert not mailbox


def test_who_comes_after_the_end_is_told() -> None:
    mailbox, _ = mailbox_of()
    mailbox.shut(ChannelLayerClosed)
    with pytest.raises(ChannelLayerClosed):
        mailbox.take()


async def test_shutting_passes_over_a_waiter_that_is_done() -> None:
    mailbox, _ = mailbox_of()
    waiter = waiter_in(mailbox)
    waiter.cancel()
    mailbox.shut(ChannelLayerClosed)
    await asyncio.sleep(0)
    assert waiter.cancelled()


def test_a_reader_that_closes_leaves_the_messages() -> None:
    mailbox, _ = mailbox_of(entries=2)
    mailbox.readers = 1
    mailbox.close()
    assert (mailbox.readers, left_in(mailbox)) == (0, [0, 1])


async def test_what_waited_elsewhere_comes_before_what_is_here() -> None:
    mailbox, _ = mailbox_of(capacity=10)
    other, _ = mailbox_of(entries=2)
    mailbox.put(5)
    mailbox.take_over(other)
    assert left_in(mailbox) == [0, 1, 5]


# Threads and loops


async def test_a_message_from_another_thread_wakes_the_loop() -> None:
    mailbox, _ = mailbox_of()
    [task] = await waiting(mailbox)
    thread = threading.Thread(target=mailbox.put, args=(1,))
    thread.start()
    assert await asyncio.wait_for(task, 30) == [1]
    thread.join()


async def test_shutting_from_another_thread_wakes_the_loop() -> None:
    mailbox, _ = mailbox_of()
    [task] = await waiting(mailbox)
    await asyncio.to_thread(mailbox.shut, ChannelLayerClosed)
    with pytest.raises(ChannelLayerClosed):
        await task


async def test_a_waiter_that_is_cancelled_before_its_loop_hears_of_the_message_passes_it_on() -> None:
    mailbox, _ = mailbox_of()
    first, second = await waiting(mailbox, 2)
    thread = threading.Thread(target=mailbox.put, args=(1,))
    thread.start()
    thread.join()  # the loop has not turned meanwhile
    first.cancel()
    assert await asyncio.wait_for(second, 30) == [1]


async def test_a_waiter_of_a_closed_loop_is_passed_over() -> None:
    mailbox, _ = mailbox_of()
    gone = asyncio.new_event_loop()
    mailbox.add_waiter(gone.create_future())
    gone.close()
    [task] = await waiting(mailbox)
    mailbox.put(1)
    assert await task == [1]


async def test_waiters_of_closed_loops_alone_leave_the_message() -> None:
    mailbox, _ = mailbox_of()
    gone = asyncio.new_event_loop()
    mailbox.add_waiter(gone.create_future())
    gone.close()
    assert mailbox.put(1)
    assert left_in(mailbox) == [1]


def receive_in_a_loop_of_its_own(mailbox: Mailbox, count: int, found: list[int]) -> None:
    async def receive() -> None:
        for _ in range(count):
            found.extend(await mailbox.receive())

    asyncio.run(receive())


async def test_receivers_in_several_threads_get_every_message_once() -> None:
    mailbox, _ = mailbox_of(capacity=100_000)
    found: list[list[int]] = [[], [], []]
    threads = [
        threading.Thread(target=receive_in_a_loop_of_its_own, args=(mailbox, 1000, numbers)) for numbers in found
    ]
    for thread in threads:
        thread.start()
    for number in range(3000):
        mailbox.put(number)
    await until(lambda: not any(thread.is_alive() for thread in threads))
    assert sorted(number for numbers in found for number in numbers) == list(range(3000))
    assert all(numbers == sorted(numbers) for numbers in found)
    assert len(mailbox) == 0


def test_several_threads_put_and_nothing_is_lost() -> None:
    mailbox, _ = mailbox_of(capacity=100_000)
    threads = [
        threading.Thread(target=lambda first=first: [mailbox.put(first + number) for number in range(1000)])
        for first in (0, 1000, 2000)
    ]
    for thread in threads:
        thread.start()
    found: list[int] = []
    receive_in_a_loop_of_its_own(mailbox, 3000, found)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(3000))


# Counters


def test_drops_are_counted_by_reason() -> None:
    counters = Counters()
    counters.drop("expired")
    counters.drop("expired", 3)
    counters.drop("channel_gone")
    assert counters.dropped == {"expired": 4, "channel_gone": 1}
