"""Which servers are away for the threads of a layer: one line in the log when that begins, and one when it ends."""

import logging
import threading
import time

from fast_channels.layers.mailbox import Counters

__all__ = ["Outages"]

logger = logging.getLogger("fast_channels.redis")


class Outages:
    """What all threads know of servers that are away. Their connections come and go; an outage is counted once."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._since: dict[str, tuple[float, bool]] = {}

    def __repr__(self) -> str:
        return f"<Outages of {', '.join(self._since) or 'nothing'}>"

    def begin(self, label: str, reason: BaseException, *, was_up: bool = False) -> None:
        """A server is away; `was_up`: a connection to it is lost."""
        if label in self._since:
            return
        with self._lock:
            is_new = label not in self._since
            if is_new:
                self._since[label] = time.monotonic(), was_up
                self._counters.disconnections += was_up
        if is_new and was_up:
            logger.warning("the connection to %s for sending is lost: %s; connecting again", label, reason)
        elif is_new:
            logger.warning("%s cannot be reached for sending: %s; trying again", label, reason)

    def end(self, label: str) -> None:
        """It is there."""
        if label not in self._since:
            return
        with self._lock:
            since, was_up = self._since.pop(label, (None, False))
            self._counters.reconnections += was_up
        if since is not None:
            logger.warning("%s is back for sending after %.2f s", label, time.monotonic() - since)
