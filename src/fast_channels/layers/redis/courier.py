"""Commands that are carried out by the thread that wants them, whatever it takes: the blocking twin of links and
outboxes.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final, NamedTuple, TypeAlias

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError, ServerRefused
from fast_channels.layers.redis.blocking_connection import BlockingConnection, answering
from fast_channels.layers.redis.blocking_servers import BlockingServers, Place
from fast_channels.layers.redis.cluster_links import ASKING
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.errands import Errand
from fast_channels.layers.redis.link import Patience, backoff
from fast_channels.layers.redis.outages import Outages
from fast_channels.layers.redis.topology import REPLICA, is_replica

__all__ = ["Courier", "Meanwhile"]

logger = logging.getLogger("fast_channels.redis")


LAST: Final = 0.1
"""Seconds for an answer, though the time is over."""

QUICK: Final = 0.25
"""Seconds of silence, until who has an answer does not wait for the others any more."""

QUICK_CONNECTION: Final = 0.5
"""Seconds that a connection may take at first, while others wait for it."""

Meanwhile: TypeAlias = Callable[[], object] | None


class _Attempt(NamedTuple):
    """Errands for which an answer is waited for, over one connection."""

    place: Place
    connection: BlockingConnection
    errands: list[Errand]
    answer_by: float
    is_sent: bool
    """If not, the server is asked first what it is."""


_ByPlace: TypeAlias = dict[Place, list[Errand]]


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

    def carry_out(self, errands: Sequence[Errand], meanwhile: Meanwhile = None) -> None:
        """Return when all are done, well or not.

        Args:
            errands: in the order in which each server gets its own.
            meanwhile: is called while some of them may be done, and the others take long. It may not use this courier.
        """
        deadline = time.monotonic() + self._patience.send
        attempt = 0
        left = self._round(errands, deadline, QUICK_CONNECTION, meanwhile)
        while left and time.monotonic() < deadline:
            if meanwhile is not None and len(left) < len(errands):
                meanwhile()
            attempt += 1
            self._pause(left, attempt, deadline)
            left = self._round(left, deadline, inf, meanwhile)
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

    def _round(self, errands: Sequence[Errand], deadline: float, limit: float, meanwhile: Meanwhile) -> list[Errand]:
        """Try all once, and return those that are not done. Nobody waits long for somebody else's server."""
        apart = self._sorted(errands, deadline)
        limit = limit if len(apart) > 1 else inf
        under_way = self._resumed(apart, deadline)
        while under_way or apart:
            self._collect(under_way, apart, deadline, meanwhile)
            under_way += self._connected(apart, deadline, limit)
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
                errand.not_sent(self._servers.label_of(errand.address), trouble)
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

    def _resumed(self, apart: _ByPlace, deadline: float) -> list[_Attempt]:
        """Attempts over the connections that there are; apart remains who has none."""
        attempts = []
        for place in [place for place in apart if place in self._connections]:
            connection = self._connections[place]
            if not connection.is_usable():  # it was closed while nobody used it: that is no outage
                connection.close()
                del self._connections[place]
            elif self._is_check_due(connection):
                attempts += self._checking(place, connection, apart, deadline)
            else:
                attempts += self._written(place, connection, apart.pop(place), deadline)
        return attempts

    def _connected(self, apart: _ByPlace, deadline: float, limit: float) -> list[_Attempt]:
        """Attempts over new connections; each takes `limit` seconds at most, or a share of the time there is."""
        attempts = []
        while apart:
            place = next(iter(apart))
            share = (deadline - time.monotonic()) / (len(apart) + 1)
            errands = apart.pop(place)
            connection = self._connection(place, errands, time.monotonic() + min(share, limit))
            if connection is not None:
                attempts += self._written(place, connection, errands, deadline)
        return attempts

    def _collect(self, under_way: list[_Attempt], apart: _ByPlace, deadline: float, meanwhile: Meanwhile) -> None:
        """Read the answers, whoever answers first: until all are there or, if others are apart, not for long."""
        until = time.monotonic() + QUICK if apart else inf
        while under_way and time.monotonic() < until:
            ready = self._ready(under_way, until, meanwhile)
            for attempt in ready:
                under_way.remove(attempt)
                answer_by = max(attempt.answer_by, time.monotonic() + LAST)
                if attempt.is_sent:
                    self._read(attempt.place, attempt.connection, attempt.errands, answer_by)
                else:
                    under_way += self._checked(attempt, apart, deadline, answer_by)
            if not ready and meanwhile is not None:
                meanwhile()

    def _ready(self, under_way: Sequence[_Attempt], until: float, meanwhile: Meanwhile) -> list[_Attempt]:
        """Who has an answer, or no time left; nobody, if it stays quiet for a while."""
        if len(under_way) == 1 and until == inf and meanwhile is None:
            return list(under_way)
        quiet = min(until, time.monotonic() + QUICK, *(attempt.answer_by for attempt in under_way))
        heard = answering([attempt.connection for attempt in under_way], quiet)
        now = time.monotonic()
        return [attempt for attempt in under_way if attempt.connection in heard or attempt.answer_by <= now]

    def _answer_by(self, deadline: float) -> float:
        """Until when an answer is waited for: what is tried at the last moment gets one, too."""
        now = time.monotonic()
        return max(now + LAST, min(deadline, now + self._patience.answer))

    def _connection(self, place: Place, errands: Iterable[Errand], deadline: float) -> BlockingConnection | None:
        """A new connection; if there is none, the errands know why."""
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
            errand.not_sent(label, trouble)

    # A connection that is kept leads to a master: that is asked every few seconds

    def _is_check_due(self, connection: BlockingConnection) -> bool:
        return time.monotonic() - connection.checked_at >= self._patience.ping_every

    def _checking(
        self, place: Place, connection: BlockingConnection, apart: _ByPlace, deadline: float
    ) -> list[_Attempt]:
        answer_by = self._answer_by(deadline)
        try:
            connection.write(packed(b"HELLO"), deadline=answer_by)
        except OSError as error:
            self._hang_up(place, connection, error)
            return []
        return [_Attempt(place, connection, apart.pop(place), answer_by, is_sent=False)]

    def _checked(self, attempt: _Attempt, apart: _ByPlace, deadline: float, answer_by: float) -> list[_Attempt]:
        place, connection = attempt.place, attempt.connection
        reason = self._defect(place, connection, answer_by)
        if reason is None:
            return self._written(place, connection, attempt.errands, deadline)
        self._hang_up(place, connection, reason)
        apart[place] = attempt.errands
        return []

    def _defect(self, place: Place, connection: BlockingConnection, deadline: float) -> BaseException | None:
        try:
            answer = connection.read(deadline)
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

    # Commands out, replies back

    def _written(
        self, place: Place, connection: BlockingConnection, errands: list[Errand], deadline: float
    ) -> list[_Attempt]:
        commands = []
        for errand in errands:
            if errand.asking is not None:
                commands.append(ASKING)
            commands.append(errand.packed())
        try:
            connection.write(*commands, deadline=self._answer_by(deadline))
        except OSError as error:
            self._lost(place, connection, errands, error)
            return []
        return [_Attempt(place, connection, errands, self._answer_by(deadline), is_sent=True)]

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
