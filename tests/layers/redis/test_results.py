"""What each letter of an answer counts, raises and logs."""

import logging

import pytest

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.results import count_dropped, count_sent


@pytest.mark.parametrize(("result", "dropped"), [("1", {}), ("g", {"channel_gone": 1})])
def test_a_message_that_is_stored_or_that_nobody_waits_for_counts_as_sent(result: str, dropped: dict[str, int]) -> None:
    counters = Counters()
    count_sent(counters, result, "jobs", 5)
    assert (counters.sent, counters.dropped) == (1, dropped)


@pytest.mark.parametrize(
    ("result", "capacity", "dropped", "text"),
    [("f", 5, {}, "channel 'jobs' is full: 5"), ("o", 100_000, {"inbox_full": 1}, "the inbox of the process")],
)
def test_a_full_channel_is_an_error(result: str, capacity: int, dropped: dict[str, int], text: str) -> None:
    counters = Counters()
    with pytest.raises(ChannelFull, match=text) as caught:
        count_sent(counters, result, "jobs", 5)
    assert (caught.value.channel, caught.value.capacity) == ("jobs", capacity)
    assert (counters.sent, counters.dropped) == (0, dropped)


@pytest.mark.parametrize(
    ("result", "reason", "line"),
    [
        ("g", "channel_gone", None),
        ("f", "over_capacity", "a message of group room is dropped: over capacity"),
        ("o", "inbox_full", "a message of group room is dropped: 100000 wait in the inbox of its process"),
    ],
)
def test_what_is_dropped_is_counted_and_logged_less_and_less(
    caplog: pytest.LogCaptureFixture, result: str, reason: str, line: str | None
) -> None:
    caplog.set_level(logging.INFO)
    counters = Counters()
    for _ in range(10):
        count_dropped(counters, result, "of group room")
    assert counters.dropped == {reason: 10}
    assert caplog.messages == ([line] * 4 if line else [])  # the 1st, 2nd, 4th, 8th
