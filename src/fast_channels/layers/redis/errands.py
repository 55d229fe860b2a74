"""A command that a thread wants carried out, and what becomes of it."""

from collections.abc import Callable
from enum import Enum
from ssl import SSLError
from typing import Any

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.blocking_connection import BlockingConnection
from fast_channels.layers.redis.blocking_servers import Place
from fast_channels.layers.redis.link import passes_by_itself
from fast_channels.layers.redis.outbox import PASSING, PAUSE
from fast_channels.layers.redis.scripts import is_unknown_script

__all__ = ["Errand", "Repeat"]


class Repeat(Enum):
    """What may be done with a command whose answer is lost."""

    FREELY = "it changes nothing"
    NUMBERED = "the server recognises it"
    NEVER = "it would happen twice"


class Errand:
    """A command, and what became of it.

    Args:
        address: the key or the address that decides which server gets it.
        pack: encodes it; True: with the whole text of its script.
    """

    def __init__(self, address: bytes, pack: Callable[[bool], bytes], repeat: Repeat) -> None:
        self.address = address
        self.reply: Any = None
        self.error: Exception | None = None
        """Why there is no reply."""
        self.is_done = False
        self.answered_by: BlockingConnection | None = None
        """Where the reply came from."""
        self.is_unanswered = False
        """Whether the server was silent, or away, until the time was over."""
        self.asking: Place | None = None
        """Where to ask this time, though somebody else has the slot."""
        self.trouble: BaseException | None = None
        """Why it is not done yet."""
        self.pause: float | None = 0.0
        """Seconds to wait before the next attempt; None: as long as the connection takes to come back."""
        self._pack = pack
        self._repeat = repeat
        self._whole = False
        self._arrived = False  # whether an attempt may have arrived
        self._refused = False
        self._moves = 0

    def __repr__(self) -> str:
        return f"<Errand {'done' if self.is_done else 'not done'}: {self.error or self.trouble}>"

    def packed(self) -> bytes:
        """The command for the next attempt."""
        return self._pack(self._whole)

    def result(self) -> Any:
        """The reply, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.reply

    # What becomes of an attempt

    def answered(self, reply: Any, connection: BlockingConnection) -> None:
        """It is done."""
        self.reply, self.answered_by, self.is_done = reply, connection, True

    def fail(self, label: str, error: Exception) -> None:
        """It will not be done; an attempt before the one that failed may have arrived."""
        self.error, self.is_done = (OutcomeUnknown(label, _cause(error)) if self._arrived else error), True

    def lost(self, label: str, error: BaseException) -> None:
        """It was sent, and there is no answer."""
        self.trouble, self.pause, self._refused = error, None, False
        self._arrived |= self._repeat is not Repeat.FREELY
        self.is_unanswered = isinstance(error, TimeoutError)
        if self._repeat is Repeat.NEVER:
            self.error, self.is_done = OutcomeUnknown(label, error), True

    def not_sent(self, label: str, error: BaseException) -> None:
        """There is no server for it; one that will refuse the next attempt, too, ends it."""
        cut_short = isinstance(error, TimeoutError) and isinstance(self.trouble, SSLError)
        self.trouble = self.trouble if cut_short else error  # a last attempt says nothing about a certificate
        self.pause, self._refused = None, False
        if isinstance(error, ServerRefused) and not passes_by_itself(error):
            self.fail(label, error)

    def refused(self, label: str, answer: str) -> bool:
        """The server refused it; False if it will for ever."""
        self.pause = 0.0
        if is_unknown_script(answer) and not self._whole:
            self._whole = True
            return True
        if answer.startswith(PASSING):
            self.trouble, self.pause, self._refused = ServerRefused(label, answer), PAUSE, True
            return True
        self.fail(label, ServerRefused(label, answer))
        return False

    def moved(self, place: Place, *, only_now: bool) -> None:
        """Somebody else has its slot."""
        self.asking = place if only_now else None
        self._moves += 1
        self.pause = 0.0 if self._moves < 2 or only_now else PAUSE  # they do not agree yet

    def overdue(self, label: str, waited: float) -> None:
        """There is no time left."""
        trouble, self.is_unanswered = self.trouble, True
        if self._refused and isinstance(trouble, ServerRefused):
            self.fail(label, trouble)
        else:
            self.fail(label, ServerUnreachable(label, waited, _cause(trouble)))


def _cause(error: BaseException | None) -> BaseException | str | None:
    return error.cause if isinstance(error, ServerUnreachable) else error
