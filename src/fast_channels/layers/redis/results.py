"""What the letters mean that the scripts answer with, one for each message."""

import logging
from typing import Final

from fast_channels.exceptions import ChannelFull
from fast_channels.layers.mailbox import Counters, is_worth_a_line
from fast_channels.layers.redis.wiring import INBOX_BOUND

__all__ = ["GONE", "STORED", "count_dropped", "count_sent"]

logger = logging.getLogger("fast_channels.redis")

STORED: Final = "1"
GONE: Final = "g"
"""There is no such inbox, or not in the life that was named."""

INBOX_FULL: Final = "the inbox of the process of channel {!r} is full: does its event loop turn?"


def count_sent(counters: Counters, result: str, channel: str, capacity: int) -> None:
    """Count a direct message.

    Raises:
        ChannelFull: it was not stored, and its sender can do something about it.
    """
    if result == "f":
        raise ChannelFull(channel=channel, capacity=capacity)
    if result == "o":
        count_dropped(counters, result, f"for channel {channel}")
        raise ChannelFull(INBOX_FULL.format(channel), channel=channel, capacity=INBOX_BOUND)
    counters.sent += 1
    if result != STORED:
        count_dropped(counters, result, f"for channel {channel}")


def count_dropped(counters: Counters, result: str, what: str) -> None:
    """Count a message that was not stored."""
    if result == GONE:
        counters.drop("channel_gone")
    elif result == "o" and is_worth_a_line(counters.drop("inbox_full")):
        logger.warning("a message %s is dropped: %d wait in the inbox of its process", what, INBOX_BOUND)
    elif result == "f" and is_worth_a_line(counters.drop("over_capacity")):
        logger.info("a message %s is dropped: over capacity", what)
