"""The inbox of one client on the queue: a stream that it reads, and the channels that its messages go to."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from secrets import randbits
from time import monotonic
from typing import Any, Final, Protocol

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError, ServerRefused, ServerUnreachable
from fast_channels.layers.local import LocalChannels
from fast_channels.layers.redis.accounts import pairs
from fast_channels.layers.redis.connection import Connection, Sink, packed
from fast_channels.layers.redis.joins import Joins
from fast_channels.layers.redis.link import Commands, Link, LinkEvents
from fast_channels.layers.redis.mailroom import Mailroom
from fast_channels.layers.redis.memberships import GroupMemberships
from fast_channels.layers.redis.scripts import ATTEND, BURY, REPORT, is_unknown_script, run, run_on
from fast_channels.layers.redis.wiring import LEASE, QueueWiring

__all__ = ["Host", "StreamInbox"]

logger = logging.getLogger("fast_channels.redis")

BLOCK: Final = 1000
"""Milliseconds that a read waits on the server: less than the patience of a ping, which waits behind it."""

ENTRIES: Final = 500
"""Entries of one read."""

TRIM_AFTER: Final = 0.1
"""Seconds after which what was read is deleted."""

REMEMBERED: Final = 10_000
"""Entries that are known again if a server that took over brings them once more."""

TRY_AGAIN: Final = 0.5
"""Seconds until what the server refused is tried again."""

ELSEWHERE: Final = ("MOVED", "ASK")
"""Refusals of a node of a Cluster that has not got the slot of the inbox (any more)."""

START: Final = b"0-0"


class Host(Protocol):
    """The event loop's side of an inbox."""

    loop: asyncio.AbstractEventLoop

    def link_to(self, key: bytes) -> Commands:
        """The link for commands to the server of `key`."""
        ...

    def reading_link(self, key: bytes, events: LinkEvents) -> Link:
        """A link of its own to the server of `key`, for commands that block."""
        ...

    def control(self, payload: bytes, context: bytes) -> None:
        """A control entry arrived."""
        ...

    def is_read(self) -> None:
        """The inbox was read: whoever reads must give signs of life as well."""
        ...

    def lost(self) -> None:
        """The server had lost the inbox, and probably everything else."""
        ...

    def is_back(self) -> None:
        """The server was away, and may have lost something."""
        ...


class StreamInbox(LinkEvents):
    """The channels of one client.

    While it is attended to, its lease on the server is kept, its stream is read, and what is read is put into the
    mailboxes of its channels. If the server has lost it, it is made again, with all its memberships.
    """

    def __init__(self, client: str, host: Host, wiring: QueueWiring) -> None:
        self.client = client
        self.keys = wiring.keys.inbox(client)
        self._wiring = wiring
        self._counters = wiring.counters
        self._room = Mailroom(client, wiring, self._control, self._flushed, self._report_soon)
        self._accounts = self._room.accounts
        self._reading = Sink(self._was_read, self._was_not_read)
        self._read_ids: deque[bytes] = deque(maxlen=REMEMBERED)
        self._cursor = START
        self._read = 0  # messages read of this epoch
        self._flushed_at = -1  # how many there were when the layer was flushed, which was read just now
        self._trimmed = START
        self._epoch = randbits(40)  # no life of it has the epochs of another
        self._epoch_read = 0  # what was asked for last is of this epoch
        self._is_refused = False  # to read, for now
        self._is_level = False  # nothing stands in the stream behind what was read
        self._can_report = False  # the server has the script for it
        self._is_announced = False  # to a server that has not answered yet, and may know it already
        self._move_to(host)

    def _move_to(self, host: Host) -> None:
        self._host = host
        self._loop = host.loop
        self._room.use(host.loop)
        self._attended: asyncio.Future[None] = self._loop.create_future()
        self._trimmer: asyncio.TimerHandle | None = None
        self._link = host.reading_link(self.keys.stream, self)
        self.memberships = GroupMemberships(
            self._wiring.keys,
            self._member,
            host.link_to,
            self._wiring.patience,
            self._wiring.group_expiry,
            noted_in=self.keys.groups,
        )
        self._joins = Joins(self.local, self._leave)

    def __repr__(self) -> str:
        return f"<StreamInbox {self.client}: {self.local!r}, read up to {self._cursor.decode()}>"

    @property
    def local(self) -> LocalChannels:
        """Its channels."""
        return self._room.local

    def _control(self, payload: bytes, context: bytes) -> None:
        self._host.control(payload, context)

    # Attending to it

    async def attend(self) -> None:
        """Be there: returns when the server knows the inbox, so that whoever sends to it reaches it.

        Raises:
            ServerUnreachable: the server does not know in time.
            ServerRefused: it will not have it.
        """
        self._link.start()  # also again: some programs cancel every task there is
        attended = self._attended
        if not attended.done():
            await asyncio.wait({attended}, timeout=self._wiring.patience.send)
        if not attended.done():
            raise ServerUnreachable(self._link.label, self._wiring.patience.send, self._link.trouble)
        attended.result()

    @property
    def is_attended(self) -> bool:
        """Whether the server knows the inbox, and it is read."""
        return self._attended.done() and self._link.is_started

    async def keep(self) -> None:
        """Give a sign of life, and make the inbox again if the server has lost it.

        Raises:
            FastChannelsError: the server could not be told.
        """
        if self._attended.done():
            self._link.start()
            link = self._host.link_to(self.keys.meta)
            epoch, asked_at = self._epoch, monotonic()
            answer = await run(link, ATTEND, self.keys, *self._attending(is_new=False))
            self._was_attended(answer, epoch, asked_at)
            self._report()

    def _attending(self, *, is_new: bool) -> tuple[bytes | str | int, ...]:
        return (self._epoch, self._epoch + 1, self._cursor, LEASE, self._wiring.inbox_lasts, int(is_new))

    def _was_attended(self, answer: Sequence[int], epoch: int, asked_at: float) -> None:
        """Take in what the server says to who knew `epoch`."""
        now, is_new, _ = answer
        self._room.set_clock(now, asked_at)
        if not is_new or epoch != self._epoch:
            return
        self._epoch += 1
        self._cursor = self._trimmed = START
        self._read = 0
        self._accounts.recount()
        if self._attended.done():
            logger.warning(
                "%s had lost inbox %s: made again, with %d groups", self._link.label, self.client, len(self.memberships)
            )
            self._counters.restored += 1
            self._host.lost()

    # LinkEvents of the connection that reads

    async def on_connect(self, connection: Connection) -> None:
        epoch, asked_at = self._epoch, monotonic()
        self._is_announced = True
        try:
            answer = await run_on(connection, ATTEND, self.keys, *self._attending(is_new=True))
            self._was_attended(answer, epoch, asked_at)
            if answer[2]:
                await self._catch_up(connection)
        except ReplyError as error:
            raise ServerRefused(self._link.label, str(error)) from None
        finally:
            self._is_announced = False
        if not self._attended.done():
            self._attended.set_result(None)
        self._is_level = True
        self._can_report = False
        self._connection = connection
        self._read_on()

    async def _catch_up(self, connection: Connection) -> None:
        """Read what a server that took over has added behind what was read."""
        logger.warning("%s is behind what inbox %s has read already: a failover?", self._link.label, self.client)
        known = set(self._read_ids)
        entries = await connection.execute(b"XRANGE", self.keys.stream, b"-", self._cursor)
        self._arrived([entry for entry in entries if entry[0] not in known])

    def on_refused(self, error: ServerRefused) -> None:
        if not self._attended.done():
            refused, self._attended = self._attended, self._loop.create_future()
            refused.set_exception(error)
            refused.exception()  # who waited may have been cancelled

    def on_down(self, reason: BaseException) -> None:
        self._is_level = False
        self._counters.disconnections += 1

    def on_up(self, outage: float) -> None:
        self._counters.reconnections += 1
        self._host.is_back()

    # Reading

    # No task: what arrives is in the mailboxes in the turn of the loop in which it was received.

    def _read_on(self) -> None:
        """Ask for what comes next, on the connection that there is now."""
        read = packed(b"XREAD", b"COUNT", ENTRIES, b"BLOCK", BLOCK, b"STREAMS", self.keys.stream, self._cursor)
        self._epoch_read = self._epoch
        self._connection.send(read, self._reading)

    def _was_read(self, answer: Any) -> None:
        self._is_refused = False
        self._host.is_read()
        if answer and self._epoch_read == self._epoch:  # else the inbox was made again: it is read from its start
            self._arrived(answer[self.keys.stream])
        self._read_on()

    def _was_not_read(self, error: BaseException) -> None:
        """The next connection reads on; a server that refuses is asked again, if the inbox is still there."""
        if not isinstance(error, ReplyError):
            return
        if str(error).startswith(ELSEWHERE):
            self._connection.close(ConnectionError(f"the inbox is elsewhere now: {error}"))
        else:
            if not self._is_refused:
                self._is_refused = True
                logger.warning("inbox %s cannot be read: %s; trying again", self.client, error)
            self._loop.call_later(TRY_AGAIN, self._read_again, self._connection)

    def _read_again(self, connection: Connection) -> None:
        if connection is self._connection:
            self._read_on()

    def _arrived(self, entries: Sequence[tuple[bytes, list[bytes]]]) -> None:
        if not entries:
            return
        self._flushed_at = -1
        self._room.sort(entries)
        if self._flushed_at < 0:
            self._read += _messages(entries)
        else:  # until then, the server has counted
            after = next(at for at in range(len(entries), 0, -1) if entries[at - 1][1][0].startswith(b"f"))
            self._read = self._flushed_at + _messages(entries[after:])
        self._read_ids.extend(id for id, _ in entries)
        self._cursor = max(entries[-1][0], self._cursor, key=_order)
        self._trim_soon()

    def _flushed(self, messages: int) -> None:
        self.empty()
        self._flushed_at = messages

    # Reporting

    def _report_soon(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon(self._report)

    def _trim_soon(self) -> None:
        if self._trimmer is None:
            self._trimmer = self._loop.call_later(TRIM_AFTER, self._trim)

    def _trim(self) -> None:
        self._trimmer = None
        self._report()

    def _report(self) -> None:
        """Tell the server what was read and handed over."""
        cursor = self._cursor
        trim = b"" if self._trimmer or not self._is_level or cursor == self._trimmed else _after(cursor)
        if not (trim or self._accounts.changed) or not self._host.link_to(self.keys.meta).is_started:
            return  # nothing to tell, or the loop is ending
        gone, changed = self._accounts.take()
        arguments = [self._epoch, trim, self._read, len(gone), *gone, *pairs(changed)]

        def answered(reply: "asyncio.Future[Any]") -> None:
            error = None if reply.cancelled() else reply.exception()
            if isinstance(error, ReplyError) and is_unknown_script(str(error)):
                self._submit(REPORT.command(keys, arguments, whole=True), put_back)
            else:
                put_back(reply)

        def put_back(reply: "asyncio.Future[Any]") -> None:
            if reply.cancelled() or reply.exception() is not None:
                self._accounts.put_back(gone, changed)  # and told with the next sign of life
                return
            self._can_report = True
            if trim:
                self._trimmed = cursor

        keys = self.keys[:4]  # a first report that had to be sent twice would come behind what is sent next
        self._submit(REPORT.command(keys, arguments, whole=not self._can_report), answered)

    def _submit(self, command: bytes, answered: "Callable[[asyncio.Future[Any]], None]") -> None:
        with suppress(FastChannelsError):  # too much waits for that server: with the next sign of life
            self._host.link_to(self.keys.meta).submit(command).add_done_callback(answered)

    # Groups and channels

    def _member(self) -> bytes:
        """What stands for this inbox in groups. With the epoch: who buries it removes no later membership."""
        return f"i:{self.client}:{self._epoch}".encode()

    async def join(self, group: str, channel: str) -> None:
        """Make a channel of this inbox a member of `group`; a channel that is gone joins nothing."""
        await self._joins.join(group, channel, partial(self.memberships.join, group))

    def leave(self, group: str, channel: str) -> None:
        """Take a channel of this inbox out of `group`."""
        self._leave(group, channel)

    def _leave(self, group: str, channel: str) -> None:
        if self.local.leave(group, channel):
            self.memberships.leave(group)

    def release(self, channel: str) -> None:
        """Forget a channel, its messages and its memberships."""
        for group in self.local.release(channel):
            if not self._loop.is_closed():
                self.memberships.leave(group)
        self._accounts.release(channel)

    def empty(self) -> None:
        """Drop messages and memberships: the layer was flushed."""
        self._room.clear()
        self.memberships.forget()

    # Life

    def adopted_by(self, host: Host) -> None:
        """Go on in another loop: the one that it was made in is closed."""
        groups = tuple(self.local.groups)
        self._move_to(host)
        self.memberships.expect(groups)
        self._link.start()

    async def close(self) -> None:
        """Leave all groups, remove the inbox from the server, and let go of everything."""
        self._room.close()
        if self._trimmer is not None:
            self._trimmer.cancel()
            self._trimmer = None
        if self._is_announced and not self._attended.done():
            await asyncio.wait({self._attended}, timeout=1)
        if self._attended.done():
            await self._leave_server()
        await self._link.close()
        self._attended = self._loop.create_future()

    async def _leave_server(self) -> None:
        await self.memberships.close()
        with suppress(FastChannelsError, TimeoutError):
            async with asyncio.timeout(1):
                await run(self._host.link_to(self.keys.meta), BURY, self.keys, self._epoch)

    def abandon(self) -> None:
        """Let go of the connection after the loop was closed under it."""
        self._link.abandon()
        self.memberships.abandon()


def _messages(entries: Sequence[tuple[bytes, list[bytes]]]) -> int:
    return sum(len(fields) for _, fields in entries) // 2


def _after(id: bytes) -> bytes:
    """The id that comes next."""
    sent_at, _, number = id.partition(b"-")
    return b"%b-%d" % (sent_at, int(number) + 1)


def _order(id: bytes) -> tuple[int, int]:
    sent_at, _, number = id.partition(b"-")
    return int(sent_at), int(number)
