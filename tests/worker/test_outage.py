"""What is said of a layer that fails, and how long a worker waits before it tries again."""

import logging

import pytest

from fast_channels.worker.outage import Backoff, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO)
    return Outage("jobs", clock)


def test_an_outage_is_one_line_and_its_end_another(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        outage.report(ConnectionError("refused"), "taking a message")
        clock.now += 2
    outage.over()
    outage.over()
    assert caplog.messages == [
        "channel jobs: taking a message failed (ConnectionError: refused); the worker goes on trying",
        "channel jobs: messages come again, after 3 failed attempts in 4.0 s",
    ]


def test_the_next_outage_is_news(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("first", "second"):
        outage.report(ConnectionError(text), "taking a message")
        outage.over()
    assert [line for line in caplog.messages if "first" in line or "second" in line] == caplog.messages[::2]


def test_so_is_an_error_long_after_the_last_one(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for later in (0, 59, 61):
        clock.now += later
        outage.report(ConnectionError(f"after {later}"), "taking a message")
    assert len(caplog.messages) == 2
    assert "after 61" in caplog.messages[1]


def test_all_is_well_without_a_word(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.over()
    assert not caplog.messages


def test_pauses_grow_to_a_limit_and_begin_again() -> None:
    backoff = Backoff(first=0.1, longest=1.0)
    pauses = [backoff.pause() for _ in range(6)]
    for pause, about in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=True):
        assert 0.75 * about <= pause <= 1.25 * about
    backoff.reset()
    assert backoff.pause() <= 0.125
