"""The scripts by themselves, on a real server."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Connection, Redis, ResponseError

from fast_channels.layers.redis.keys import InboxKeys, QueueKeys, SharedKeys
from fast_channels.layers.redis.scripts import (
    ACKNOWLEDGE,
    APPEND,
    ATTEND,
    GIVE_BACK,
    KEEP,
    PUSH,
    TAKE,
    Script,
)
from fast_channels.testing.server import ServerProcess

connect: Any = Connection

LEASE = 4_000
"""Milliseconds."""

LASTS = 60_000
"""Milliseconds for which an inbox lasts that nobody attends to."""

KEPT = 60_000
"""Milliseconds for which an answer is kept."""

LETTERS = 100
"""Dead letters that a channel keeps."""


class Desk:
    """Somebody who runs scripts on a server, and looks at what they do there."""

    def __init__(self, port: int) -> None:
        self.names = QueueKeys(uuid4().hex)
        self.admin: Any = Redis(port=port)  # its stubs know of no bytes
        self.connection: Any = connect(port=port)

    def run(self, script: Script, keys: tuple[bytes, ...], *args: bytes | str | int) -> Any:
        """Run a script and return its reply.

        Raises:
            ResponseError: the server refuses.
        """
        self.connection.send_packed_command([script.command(keys, args, whole=True)])
        return self.connection.read_response()

    def close(self) -> None:
        self.admin.close()
        self.connection.disconnect()

    @property
    def now(self) -> int:
        """Milliseconds on the server's clock."""
        seconds, micros = self.admin.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def everything(self) -> dict[bytes, bytes | None]:
        """All keys of the prefix with what is in them."""
        return {key: self.admin.dump(key) for key in self.admin.scan_iter(match=self.names.everything())}

    def inbox(self, client: str = "owner") -> "Inbox":
        return Inbox(self, self.names.inbox(client))

    def channel(self, name: str = "jobs") -> "Shared":
        return Shared(self, self.names.shared(name), self.names.wake(name))


class Inbox:
    """The inbox of one client."""

    def __init__(self, desk: Desk, keys: InboxKeys) -> None:
        self.desk = desk
        self.keys = keys

    def attend(self, epoch: int = 0, cursor: str = "0-0", lease: int = LEASE, *, new: bool = False) -> list[int]:
        arguments = (epoch, epoch + 1, cursor, lease, LASTS, int(new))
        answer: list[int] = self.desk.run(ATTEND, self.keys, *arguments)
        return answer

    def append(
        self, number: int, *messages: tuple[str | int, str, str, str], sender: str = "sender", bound: int = 1000
    ) -> str:
        answered = self.desk.names.answered(self.keys.meta, sender)
        flat = [part for message in messages for part in message]
        answer: bytes = self.desk.run(APPEND, (*self.keys[:4], answered), number, bound, KEPT, *flat)
        return answer.decode()

    def entries(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in self.desk.admin.xrange(self.keys.stream)]

    def fields(self) -> list[bytes]:
        """Everything in the stream, one after the other."""
        self.desk.connection.send_command("XRANGE", self.keys.stream, "-", "+")
        return [field for _, fields in self.desk.connection.read_response() for field in fields]

    def ids(self) -> list[str]:
        return [id.decode() for id, _ in self.desk.admin.xrange(self.keys.stream)]

    def meta(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.desk.admin.hgetall(self.keys.meta).items()}

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """What was accepted, and what was handed over, for each channel."""
        accepted, handed = (self.desk.admin.hgetall(key) for key in (self.keys.accepted, self.keys.handed))
        return (
            {channel.decode(): int(count) for channel, count in accepted.items()},
            {channel.decode(): int(count) for channel, count in handed.items()},
        )


class Shared:
    """A shared channel."""

    def __init__(self, desk: Desk, keys: SharedKeys, wake: bytes) -> None:
        self.desk = desk
        self.keys = keys
        self.wake = wake

    def push(
        self, number: int, *payloads: str, capacity: int = 100, expiry: int = 60_000, sender: str = "sender"
    ) -> str:
        keys = self.keys
        answered = self.desk.names.answered(keys.ready, sender)
        flat = [part for payload in payloads for part in (capacity, expiry, payload)]
        answer: bytes = self.desk.run(
            PUSH,
            (keys.ready, keys.payloads, keys.states, keys.delayed, keys.marks, answered),
            *(number, KEPT, self.wake, *flat),
        )
        return answer.decode()

    def take(self, request: int, count: int = 1, client: str = "worker", lease: int = LEASE) -> list[Any]:
        """Expired, due, and (id, deliveries, payload) for each message."""
        keys = self.keys
        taking = (keys.ready, keys.payloads, keys.states, keys.delayed, keys.held, keys.leases, keys.requests)
        expired, due, *found = self.desk.run(TAKE, taking, client, request, count, lease)
        return [expired, due, *zip(found[::3], found[1::3], found[2::3], strict=True)]

    def take_one(self, request: int, client: str = "worker") -> bytes:
        """The id of the message that was taken."""
        [_, _, (id, _, _)] = self.take(request, client=client)
        return bytes(id)

    def keep(self, client: str = "worker", lease: int = LEASE, most: int = 5, letters: int = LETTERS) -> list[Any]:
        """Waiting, due, given back, dead, and who had held them."""
        answer: list[Any] = self.desk.run(KEEP, self.keys[:9], client, lease, most, letters, self.wake)
        return [*answer[:4], sorted(holder.decode() for holder in answer[4:])]

    def acknowledge(self, *ids: bytes, client: str = "worker") -> str:
        keys = self.keys
        answer: bytes = self.desk.run(ACKNOWLEDGE, (keys.payloads, keys.states, keys.held), client, *ids)
        return answer.decode()

    def give_back(
        self,
        id: bytes,
        delay: int = 0,
        most: int = 5,
        *,
        client: str = "worker",
        letters: int = LETTERS,
        restore: str = "",
        handed_over: bool = False,
    ) -> str:
        how = (delay, most, letters, "max_deliveries", "ValueError: a:b", self.wake, restore, int(handed_over))
        answer: bytes = self.desk.run(GIVE_BACK, self.giving_back(id), client, id, *how)
        return answer.decode()

    def giving_back(self, id: bytes) -> tuple[bytes, ...]:
        keys = self.keys
        return (
            *(keys.ready, keys.payloads, keys.states, keys.delayed, keys.held, keys.dead, keys.reports, keys.marks),
            self.desk.names.answered(keys.ready, f"restored-{id.decode()}"),
        )

    # Looking

    def waiting(self) -> list[str]:
        """The payloads of what waits, in order."""
        admin = self.desk.admin
        found = [admin.hget(self.keys.payloads, id) for id in admin.lrange(self.keys.ready, 0, -1)]
        return [payload.decode() if payload is not None else "-" for payload in found]

    def state(self, id: bytes) -> str | None:
        """How often it was delivered, when it expires, when it came."""
        state = self.desk.admin.hget(self.keys.states, id)
        return state.decode() if state is not None else None

    def holder(self, id: bytes) -> str | None:
        holder = self.desk.admin.hget(self.keys.held, id)
        return holder.decode() if holder is not None else None

    def report(self, id: bytes) -> str | None:
        report = self.desk.admin.hget(self.keys.reports, id)
        return report.decode() if report is not None else None

    def expire_all(self) -> None:
        """Let a minute pass for what waits: it came, and expired, long ago."""
        admin = self.desk.admin
        for id, state in admin.hgetall(self.keys.states).items():
            deliveries, expires, sent = state.decode().split(":")
            if expires != "0":
                admin.hset(self.keys.states, id, f"{deliveries}:{int(expires) - 120_000}:{sent}")
        if admin.hexists(self.keys.marks, "sweep"):
            admin.hincrby(self.keys.marks, "sweep", -120_000)

    def set_lease(self, client: str, run: int, ends: int) -> None:
        """Begin the run of `client` so many milliseconds from now, and end its lease."""
        now = self.desk.now
        self.desk.admin.hset(self.keys.leases, client, f"{now + run}:{now + ends}")


@pytest.fixture
def desk(redis_server: ServerProcess) -> Iterator[Desk]:
    desk = Desk(redis_server.port)
    yield desk
    desk.close()


__all__ = ["LASTS", "LEASE", "LETTERS", "Desk", "Inbox", "ResponseError", "Shared"]
