"""Waiting until a replica has what its master has accepted, on connections of their own."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from hiredis import ReplyError

from fast_channels.exceptions import OutcomeUnknown, ServerUnreachable
from fast_channels.layers.redis.connection import Connection, packed
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Commands, Link, LinkEvents, Patience

__all__ = [
    "CONNECTION_LOST",
    "DURABILITIES",
    "MARK_KEPT",
    "NEW_SERVER",
    "TOO_LATE",
    "Durability",
    "not_confirmed",
    "run_id_in",
]

DURABILITIES: Final = ("server", "replicated")
"""When a send returns: its server has the message; a replica has it as well."""

SLICE: Final = 1000
"""Milliseconds that a WAIT lasts at most, until it is repeated: less than the patience of a ping behind it."""

MARK_KEPT: Final = 60_000
"""Milliseconds for which the server keeps what was written to be waited for."""

TOO_LATE: Final = "no replica answered in time"

RUN_ID: Final = re.compile(r"run_id:(\w+)")

NEW_SERVER: Final = "another server has taken its place"

CONNECTION_LOST: Final = "the connection was lost"


class Durability:
    """What one event loop waits for: that replicas confirm what it sent.

    Replication is one ordered stream. So a replica that has what was written after a message has the message, if that
    was the same server in the same life, which is known by its run id.

    Args:
        reading_link: a link of its own to the server of a key, for commands that block.
    """

    def __init__(self, reading_link: Callable[[bytes, LinkEvents], Link], keys: QueueKeys, patience: Patience) -> None:
        self._reading_link = reading_link
        self._keys = keys
        self._patience = patience
        self._identities: WeakKeyDictionary[Connection, asyncio.Future[Any]] = WeakKeyDictionary()
        self._witnesses: dict[str, _Witness] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Durability: {', '.join(map(repr, self._witnesses.values())) or 'nothing to wait for yet'}>"

    def confirm(self, link: Commands, key: bytes) -> "asyncio.Task[None]":
        """Wait until a replica has what the server of `key` has accepted over `link` just now.

        The task fails with OutcomeUnknown if none confirmed it in time.
        """
        task = asyncio.get_running_loop().create_task(self._confirm(link, link.connection, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _confirm(self, link: Commands, connection: Connection | None, key: bytes) -> None:
        try:
            witness = self._witness(await self._identity(connection), key)
            await witness.confirm(self._keys.confirmed(key))
        except _NotConfirmed as error:
            raise not_confirmed(link.label, str(error)) from None

    async def _identity(self, connection: Connection | None) -> str:
        """The run id of the server at the other end, of which there was an answer just now."""
        if connection is None:
            raise _NotConfirmed(CONNECTION_LOST)
        asked = self._identities.get(connection)
        if asked is None:
            asked = self._identities[connection] = connection.execute(b"INFO", b"server")
        if not asked.done():
            await asyncio.wait({asked}, timeout=self._patience.send)
        return _run_id(asked)

    def _witness(self, server: str, key: bytes) -> "_Witness":
        witness = self._witnesses.get(server)
        if witness is None or witness.is_over:
            for other in [other for other in self._witnesses.values() if other.is_over]:
                del self._witnesses[other.server]
            witness = self._witnesses[server] = _Witness(server, self._patience)
            witness.link = self._reading_link(key, witness)
        return witness

    async def close(self) -> None:
        """Wait for nothing any more, and end the connections. Idempotent; they open again when they are used."""
        for task in tuple(self._tasks):
            task.cancel()
        witnesses, self._witnesses = self._witnesses, {}
        await asyncio.gather(*(witness.close() for witness in witnesses.values()))

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        for witness in self._witnesses.values():
            witness.link.abandon()
        self._witnesses.clear()


def not_confirmed(label: str, reason: str) -> OutcomeUnknown:
    """What to say of a message that no replica confirmed."""
    text = (
        f"{label} accepted the message, but no replica confirmed it ({reason}):"
        " it is stored there, and lost if that server fails before a replica has it"
    )
    return OutcomeUnknown(label, reason, message=text)


class _NotConfirmed(Exception):
    """Why."""


class _Waiting(NamedTuple):
    deadline: float
    key: bytes
    confirmed: "asyncio.Future[None]"


class _Witness(LinkEvents):
    """Waits for the replicas of one server, in one life of it. All who wait share a WAIT; there is one at a time."""

    link: Link
    _ending: "asyncio.Task[None]"

    def __init__(self, server: str, patience: Patience) -> None:
        self.server = server
        self.is_over = False
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._reason = TOO_LATE

    def __repr__(self) -> str:
        return f"<{len(self._waiting)} wait at {self.link.label}>"

    async def confirm(self, key: bytes) -> None:
        confirmed: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Waiting(self._loop.time() + self._patience.send, key, confirmed))
        if self._work is None or self._work.done():
            self._work = self._loop.create_task(self._wait(), name=f"fast-channels replicas of {self.link.label}")
        await confirmed

    async def _wait(self) -> None:
        while self._waiting:
            count = len(self._waiting)
            if await self._is_replicated():
                self._end(count)
            else:
                overdue = sum(waiting.deadline <= self._loop.time() for waiting in self._waiting)
                self._end(overdue, self._reason)

    async def _is_replicated(self) -> bool:
        """Write something behind all that was accepted, and wait for a replica to have it: not for long."""
        patience = self._waiting[0].deadline - self._loop.time()
        milliseconds = max(1, min(SLICE, round(patience * 1000)))
        try:
            written = self.link.submit(packed(b"SET", self._waiting[-1].key, b"", b"PX", MARK_KEPT))
            waited = self.link.submit(packed(b"WAIT", 1, milliseconds))
        except ServerUnreachable as error:  # too much waits for it
            self._reason = str(error)
            await asyncio.sleep(patience)
            return False
        await asyncio.wait({written, waited}, timeout=max(0.001, patience))
        return not self.is_over and self._is_done(written) and self._is_done(waited) and waited.result() > 0

    def _is_done(self, reply: "asyncio.Future[Any]") -> bool:
        if not reply.done():
            reply.cancel()
            return False
        error = reply.exception()
        if error is None:
            return True
        self._reason = str(error)
        if isinstance(error, ReplyError):  # it will not have it, however long that is tried
            self._end(len(self._waiting), self._reason)
        return False

    def _end(self, count: int, reason: str | None = None) -> None:
        """Tell those who have waited longest."""
        for _ in range(min(count, len(self._waiting))):
            confirmed = self._waiting.popleft().confirmed
            if confirmed.done():
                continue  # who waited has given up
            if reason is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(_NotConfirmed(reason))
                confirmed.exception()

    # LinkEvents

    async def on_connect(self, connection: Connection) -> None:
        asked = connection.execute(b"INFO", b"server")
        await asyncio.wait({asked})
        if self.server != _run_id(asked):  # what the other one had accepted, nobody can say any more
            self.is_over = True
            self._ending = self._loop.create_task(self.close())

    async def close(self) -> None:
        """Tell who waits that it is over, and end the connection."""
        self._end(len(self._waiting), NEW_SERVER if self.is_over else "the layer was closed")
        await self.link.close()


def _run_id(asked: "asyncio.Future[Any]") -> str:
    """What tells one life of a server from all others."""
    if not asked.done():
        raise _NotConfirmed("the server does not answer")
    error = asked.exception()
    if error is not None:
        raise _NotConfirmed(str(error))
    run_id = run_id_in(asked.result())
    if run_id is None:
        raise _NotConfirmed("the server does not say which it is")
    return run_id


def run_id_in(answer: Any) -> str | None:
    """What tells one life of a server from all others, out of its answer to INFO; None: it does not say."""
    if not isinstance(answer, (str, bytes)):
        return None
    found = RUN_ID.search(answer if isinstance(answer, str) else answer.decode(errors="replace"))
    return found[1] if found is not None else None
