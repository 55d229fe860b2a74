"""Commands that are carried out by the thread that wants them, whatever it takes: the blocking twin of links and
outboxes.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError, OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.blocking_connection import BlockingConnection
from fast_channels.layers.redis.blocking_servers import BlockingServers, Place
from fast_channels.layers.redis.cluster_links import ASKING
from fast_channels.layers.redis.link import PASSING as PASSING_AT_FIRST
from fast_channels.layers.redis.link import Patience, backoff
from fast_channels.layers.redis.outages import Outages
from fast_channels.layers.redis.outbox import PASSING, PAUSE
from fast_channels.layers.redis.scripts import is_unknown_script
from fast_channels.layers.redis.topology import REPLICA, is_replica

__all__ = ["Courier", "Errand", "Repeat"]

logger = logging.getLogger("fast_channels.redis")


LAST: Final = 0.1
"""Seconds for an answer, though the time is over."""


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

    def not_sent(self, error: BaseException) -> None:
        """There is no server for it."""
        self.trouble, self.pause, self._refused = error, None, False

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


class Courier:
    """Carries out errands, over connections that it keeps. One thread uses it at a time.

    An answer that is lost is asked for again, if the errand may be repeated, until `patience.send` is over.
    """

    def __init__(self, servers: BlockingServers, patience: Patience, outages: Outages) -> None:
        self._servers = servers
        self._patience = patience
        self._outages = outages
        self._connections: dict[Place, BlockingConnection] = {}
        self._unknown = ""  # of whom nobody said who it is

    def __repr__(self) -> str:
        return f"<Courier: {len(self._connections)} connections>"

    def carry_out(self, errands: Sequence[Errand]) -> None:
        """Return when all are done, well or not."""
        deadline = time.monotonic() + self._patience.send
        attempt = 0
        left = self._round(errands, deadline)
        while left and time.monotonic() < deadline:
            attempt += 1
            self._pause(left, attempt, deadline)
            left = self._round(left, deadline)
        for errand in left:
            errand.overdue(self._servers.label_of(errand.address), self._patience.send)

    def connection_for(self, address: bytes) -> BlockingConnection | None:
        """The connection to the server of an address, if there is one that may be used."""
        place = self._servers.place_of(address)
        connection = self._connections.get(place) if place is not None else None
        return connection if connection is not None and connection.is_usable() else None

    def label_of(self, address: bytes) -> str:
        """The server of an address as logs and errors name it."""
        return self._servers.label_of(address)

    def close(self) -> None:
        """End all connections. It opens others when it is used."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()

    # One attempt

    def _pause(self, errands: Iterable[Errand], attempt: int, deadline: float) -> None:
        waiting = backoff(attempt - 1, random.random())  # noqa: S311 - it spreads reconnections
        pause = max(waiting if errand.pause is None else errand.pause for errand in errands)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))

    def _round(self, errands: Sequence[Errand], deadline: float) -> list[Errand]:
        """Try all once, and return those that are not done. Who has a connection does not wait for who has none."""
        places = self._sorted(errands, deadline)
        connected = [place for place in places if place in self._connections]
        connected.sort(key=lambda place: self._is_check_due(self._connections[place]))  # that one may be silent
        self._try({place: places.pop(place) for place in connected}, deadline)
        self._try(places, deadline)
        return [errand for errand in errands if not errand.is_done]

    def _sorted(self, errands: Iterable[Errand], deadline: float) -> dict[Place, list[Errand]]:
        places: dict[Place, list[Errand]] = {}
        learned = False
        trouble: BaseException = ConnectionError("its slot is nowhere served")
        for errand in errands:
            place = errand.asking if errand.asking is not None else self._servers.place_of(errand.address)
            if place is None and not learned:
                learned = True  # once for all of them
                trouble = self._learn(self._servers.label_of(errand.address), deadline) or trouble
                place = self._servers.place_of(errand.address)
            if place is None:
                errand.not_sent(trouble)
            else:
                places.setdefault(place, []).append(errand)
        return places

    def _learn(self, label: str, deadline: float) -> BaseException | None:
        """Find out which server has what; if nobody says so, why."""
        try:
            self._servers.learn(deadline)
        except (OSError, FastChannelsError) as error:
            self._outages.begin(label, error)
            self._unknown = label
            return error
        if self._unknown:
            self._outages.end(self._unknown)
            self._unknown = ""
        return None

    def _try(self, places: dict[Place, list[Errand]], deadline: float) -> None:
        written = []
        for left, (place, errands) in zip(range(len(places), 0, -1), places.items(), strict=True):
            share = (deadline - time.monotonic()) / (left + 1)
            connection = self._connection(place, errands, time.monotonic() + share)
            if connection is not None and self._write(place, connection, errands, deadline):
                written.append((place, connection, errands))
        for place, connection, errands in written:
            self._read(place, connection, errands, self._answer_by(deadline))

    def _answer_by(self, deadline: float) -> float:
        """Until when an answer is waited for: what is tried at the last moment gets one, too."""
        now = time.monotonic()
        return max(now + LAST, min(deadline, now + self._patience.answer))

    def _connection(self, place: Place, errands: Iterable[Errand], deadline: float) -> BlockingConnection | None:
        """A connection that may be used; if there is none, the errands know why."""
        connection = self._connections.get(place)
        if connection is not None and self._is_sound(place, connection, deadline):
            return connection
        endpoint = self._servers.endpoint(place)
        try:
            connection = self._connections[place] = endpoint.connect(deadline)
        except (OSError, ServerRefused) as error:
            self._not_connected(endpoint.label, errands, error)
            return None
        self._outages.end(endpoint.label)
        return connection

    def _not_connected(self, label: str, errands: Iterable[Errand], error: OSError | ServerRefused) -> None:
        self._servers.doubt()
        trouble = error if str(error) else ConnectionError(f"{type(error).__name__} while connecting")
        self._outages.begin(label, trouble)
        for errand in errands:
            errand.asking = None
            if isinstance(error, ServerRefused) and not error.answer.startswith(PASSING_AT_FIRST):
                errand.fail(label, error)
            else:
                errand.not_sent(trouble)

    def _is_sound(self, place: Place, connection: BlockingConnection, deadline: float) -> bool:
        """Whether a connection is open, and leads to a master: that is asked every few seconds. If not, it ends."""
        if not connection.is_usable():  # it was closed while nobody used it: that is no outage
            connection.close()
            self._connections.pop(place, None)
            return False
        if not self._is_check_due(connection):
            return True
        reason = self._defect(place, connection, min(deadline, time.monotonic() + self._patience.answer))
        if reason is not None:
            self._hang_up(place, connection, reason)
        return reason is None

    def _is_check_due(self, connection: BlockingConnection) -> bool:
        return time.monotonic() - connection.checked_at >= self._patience.ping_every

    def _defect(self, place: Place, connection: BlockingConnection, deadline: float) -> BaseException | None:
        try:
            answer = connection.call("HELLO", deadline=deadline)
        except OSError as error:
            return error
        if isinstance(answer, ReplyError):
            return ConnectionError(str(answer))
        if is_replica(answer):
            return ConnectionError(REPLICA)
        master = self._servers.endpoint(place).another_master(connection, deadline)
        if master is not None:
            return ConnectionError(f"most Sentinels name another master, {master}")
        connection.checked_at = time.monotonic()
        return None

    def _write(self, place: Place, connection: BlockingConnection, errands: Iterable[Errand], deadline: float) -> bool:
        commands = []
        for errand in errands:
            if errand.asking is not None:
                commands.append(ASKING)
            commands.append(errand.packed())
        try:
            connection.write(*commands, deadline=self._answer_by(deadline))
        except OSError as error:
            self._lost(place, connection, errands, error)
            return False
        return True

    def _read(self, place: Place, connection: BlockingConnection, errands: Sequence[Errand], deadline: float) -> None:
        demoted: ServerRefused | None = None
        for number, errand in enumerate(errands):
            try:
                if errand.asking is not None:
                    connection.read(deadline)
                reply = connection.read(deadline)
            except OSError as error:
                self._lost(place, connection, errands[number:], error)
                return
            errand.asking = None
            if isinstance(reply, ReplyError):
                self._refused(place, errand, str(reply))
                if str(reply).startswith("READONLY"):  # it follows another one now: a new connection leads there
                    demoted = ServerRefused(self._servers.endpoint(place).label, str(reply))
            else:
                errand.answered(reply, connection)
        if demoted is not None:
            self._hang_up(place, connection, demoted)

    def _lost(
        self, place: Place, connection: BlockingConnection, errands: Iterable[Errand], error: BaseException
    ) -> None:
        self._hang_up(place, connection, error)
        label = self._servers.endpoint(place).label
        for errand in errands:
            errand.asking = None
            errand.lost(label, error)

    def _refused(self, place: Place, errand: Errand, answer: str) -> None:
        if answer.startswith(("MOVED ", "ASK ")):
            elsewhere = self._servers.redirected(errand.address, place, answer)
            if elsewhere is not None:
                errand.moved(elsewhere, only_now=answer.startswith("ASK "))
                return
        label = self._servers.endpoint(place).label
        if errand.refused(label, answer) and errand.pause:
            self._servers.doubt()

    def _hang_up(self, place: Place, connection: BlockingConnection, reason: BaseException) -> None:
        connection.close()
        if self._connections.get(place) is connection:
            del self._connections[place]
        self._outages.begin(self._servers.endpoint(place).label, reason, was_up=True)


def _cause(error: BaseException | None) -> BaseException | str | None:
    return error.cause if isinstance(error, ServerUnreachable) else error
