"""An outage is counted once, and is two lines in the log, however many threads meet it."""

import logging

import pytest

from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.outages import Outages


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_connection_that_is_lost_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    outages = Outages(counters)
    with caplog.at_level(logging.WARNING, "fast_channels"):
        for _ in range(3):
            outages.begin("a", ConnectionError("gone"), was_up=True)
        outages.end("a")
        outages.end("a")
    first, last = lines(caplog)
    assert first == "the connection to a for sending is lost: gone; connecting again"
    assert last.startswith("a is back for sending after 0.")
    assert (counters.disconnections, counters.reconnections) == (1, 1)


def test_a_server_that_was_never_there(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    outages = Outages(counters)
    with caplog.at_level(logging.WARNING, "fast_channels"):
        outages.begin("a", ConnectionError("refused"))
        outages.begin("b", ConnectionError("refused"))
    assert lines(caplog) == [f"{server} cannot be reached for sending: refused; trying again" for server in "ab"]
    assert (counters.disconnections, counters.reconnections) == (0, 0)
    assert repr(outages) == "<Outages of a, b>"
