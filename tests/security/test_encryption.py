"""Encrypted layers: keys change under load, and what was said in one place cannot be said in another."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.names import client_of
from fast_channels.serializers import BaseMessageSerializer, MsgPackSerializer
from tests.security.conftest import MakeQueue
from tests.security.garbage import put
from tests.support.waiting import PATIENCE, until

MESSAGE = {"type": "test"}
OLD, NEW = "the old secret of ours", "the new secret of ours"

Layer = RedisChannelLayer | RedisPubSubChannelLayer


def undecodable(layer: Layer) -> int:
    return layer.statistics().dropped.get("undecodable", 0)


# New keys under load


class Fleet:
    """Three processes, each of which sends and receives; each is replaced by one with other keys, in turn.

    A new process is there before the old one goes, as with any rolling deployment.
    """

    def __init__(self, make: Callable[..., Layer], keys: list[str]) -> None:
        self._make = make
        self.sent = 0
        self.got: dict[int, set[int]] = {}
        self.jobs: list[int] = []
        self.retired: list[Layer] = []
        self._members = [self._start(keys) for _ in range(3)]
        self._stop = asyncio.Event()

    def _start(self, keys: list[str]) -> tuple[Layer, "asyncio.Task[None]", asyncio.Event]:
        layer = self._make(symmetric_encryption_keys=keys, capacity=100_000)
        joined = asyncio.Event()
        return layer, asyncio.create_task(self._live(layer, joined)), joined

    async def _live(self, layer: Layer, joined: asyncio.Event) -> None:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        joined.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(layer, channel))
            if isinstance(layer, RedisChannelLayer):
                group.create_task(self._work(layer))

    async def _hear(self, layer: Layer, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            self.got.setdefault(id(layer), set()).add(message["number"])

    async def _work(self, layer: Layer) -> None:
        while True:
            async with layer.delivery("jobs") as message:
                self.jobs.append(message["number"])

    async def send(self) -> None:
        """Send from all in turn, until `stop`."""
        while not self._stop.is_set():
            for layer, _, joined in tuple(self._members):
                await joined.wait()
                self.sent += 1
                number = self.sent
                await layer.group_send("room", {"type": "test", "number": number})
                if isinstance(layer, RedisChannelLayer):
                    await layer.send("jobs", {"type": "test", "number": number})
            await asyncio.sleep(0)

    async def roll(self, keys: list[str]) -> None:
        """Replace each by one with `keys`."""
        for place in range(len(self._members)):
            old = self._members[place]
            new = self._start(keys)
            await new[2].wait()
            self._members[place] = new
            sent = self.sent
            await until(lambda sent=sent: self.sent > sent + 20)  # type: ignore[misc]
            self.retired.append(old[0])
            old[1].cancel()
            await asyncio.wait({old[1]})

    def stop(self) -> None:
        self._stop.set()

    @property
    def layers(self) -> list[Layer]:
        return [*self.retired, *(layer for layer, _, _ in self._members)]

    async def settle(self) -> None:
        """Wait until whoever is left has heard the last message."""
        await until(lambda: all(self.sent in self.got.get(id(layer), ()) for layer, _, _ in self._members), timeout=5)
        await until(lambda: not self.jobs or len(set(self.jobs)) == self.sent, timeout=5)

    async def end(self) -> None:
        for _, task, _ in self._members:
            task.cancel()
        await asyncio.wait({task for _, task, _ in self._members})


@asynccontextmanager
async def fleet(make: Callable[..., Layer], keys: list[str]) -> AsyncIterator[Fleet]:
    fleet = Fleet(make, keys)
    sending = asyncio.create_task(fleet.send())
    try:
        yield fleet
    finally:
        fleet.stop()
        await asyncio.wait_for(sending, PATIENCE)
        await fleet.end()


@pytest.fixture(params=["queue", "pubsub"])
def make(request: pytest.FixtureRequest) -> Callable[..., Layer]:
    made: Callable[..., Layer] = request.getfixturevalue(f"make_{request.param}")
    return made


async def test_keys_are_changed_under_load_and_nothing_is_lost(make: Callable[..., Layer]) -> None:
    """As the page says: first everybody can read the new key, then everybody writes with it."""
    async with fleet(make, [OLD]) as processes:
        for keys in ([OLD, NEW], [NEW, OLD], [NEW]):
            await processes.roll(keys)
        processes.stop()
        await processes.settle()
    assert [undecodable(layer) for layer in processes.layers] == [0] * 12
    for numbers in processes.got.values():  # each heard everything from the first to the last that it heard
        assert len(numbers) == max(numbers) - min(numbers) + 1
    if processes.jobs:
        assert set(processes.jobs) == set(range(1, processes.sent + 1))


async def test_who_writes_with_a_key_that_others_cannot_read_loses(make: Callable[..., Layer]) -> None:
    """The twin: what the first round is for."""
    async with fleet(make, [OLD]) as processes:
        await processes.roll([NEW, OLD])
    assert sum(undecodable(layer) for layer in processes.layers) > 0


async def test_receivers_first_then_senders_needs_no_third_round(make: Callable[..., Layer]) -> None:
    receivers = [make(symmetric_encryption_keys=keys) for keys in ([OLD], [NEW, OLD], [NEW])]
    senders = [make(symmetric_encryption_keys=keys) for keys in ([OLD], [NEW, OLD], [NEW])]
    for receiver, sender in ((0, 0), (1, 0), (1, 1), (1, 2), (2, 2)):
        channel = await receivers[receiver].new_channel()
        await senders[sender].send(channel, {"type": "test"})
        assert await asyncio.wait_for(receivers[receiver].receive(channel), PATIENCE) == {"type": "test"}


async def test_what_waits_in_the_queue_is_read_after_a_change(make_queue: MakeQueue) -> None:
    for number, keys in enumerate(([OLD], [NEW, OLD])):
        await make_queue(symmetric_encryption_keys=keys).send("jobs", {"type": "test", "number": number})
    layer = make_queue(symmetric_encryption_keys=[NEW, OLD])
    assert [(await layer.receive("jobs"))["number"] for _ in range(2)] == [0, 1]


async def test_what_nobody_could_read_is_sent_again_when_the_keys_are_right(make_queue: MakeQueue) -> None:
    await make_queue(symmetric_encryption_keys=[NEW]).send("jobs", {"type": "test"})
    late, ready = make_queue(symmetric_encryption_keys=[OLD]), make_queue(symmetric_encryption_keys=[OLD, NEW])
    receiving = asyncio.ensure_future(late.receive("jobs"))
    await until(lambda: late.statistics().dead_lettered == 1)
    receiving.cancel()
    assert await ready.dead_letters.send_again("jobs") == 1
    assert await asyncio.wait_for(ready.receive("jobs"), PATIENCE) == {"type": "test"}


# Replayed somewhere else. (Pub/sub: tests/layers/redis/test_pubsub.py)

KEYS: dict[str, Any] = {"symmetric_encryption_keys": [OLD]}


async def replay(layer: RedisChannelLayer, admin: Any) -> list[Any]:
    """Take what was sent to `jobs`, to a group and to a channel of one process, and put each at every other place.
    Returns what is received there.
    """
    keys = QueueKeys(layer.prefix)
    first, second = await layer.new_channel(), await layer.new_channel()
    client = client_of(first)
    stream = keys.inbox(client).stream
    await layer.group_add("room", second)
    await layer.group_add("other-room", "audit")
    await layer.send("jobs", {"type": "for jobs"})
    await layer.group_send("other-room", {"type": "for audit"})
    for channel in ("jobs", "audit"):  # out of one shared channel, into another, a group and an inbox
        [payload] = admin.hvals(keys.shared(channel).payloads)
        put(admin, keys, "mails", payload)
        admin.xadd(stream, {f"d60000|{second}": payload})
        admin.xadd(stream, {"g60000|room": payload})
    await layer.send(first, {"type": "for the first"})  # which is read at once: from the stream of a stopped reader
    await layer.send(second, {"type": "after"})
    await layer.send("mails", {"type": "after"})
    found = []
    for channel in (second, "mails"):
        while (message := await asyncio.wait_for(layer.receive(channel), PATIENCE)) != {"type": "after"}:
            found.append(message["type"])
    return found


async def test_what_was_sent_to_one_is_no_message_for_another(make_queue: MakeQueue, admin: Any) -> None:
    layer = make_queue(**KEYS)
    assert await replay(layer, admin) == []
    assert undecodable(layer) == 6
    await until(lambda: layer.statistics().dead_lettered == 2)
    assert {letter.reason for letter in await layer.dead_letters.list("mails")} == {"undecodable"}


async def test_it_would_be_one_if_nobody_looked_for_whom_it_was(
    make_queue: MakeQueue, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(data: bytes, context: bytes) -> bytes:
        return data[2 + int.from_bytes(data[:2]) :]

    monkeypatch.setattr(BaseMessageSerializer, "_opened", staticmethod(opened))
    assert len(await replay(make_queue(**KEYS), admin)) == 6


async def test_what_was_sent_to_some_is_no_message_for_others(make_queue: MakeQueue, admin: Any) -> None:
    """Neither for another group, nor for who was excluded, nor for the whole group."""
    layer = make_queue(**KEYS)
    member, excluded = await layer.new_channel(), await layer.new_channel()
    for group in ("room", "hall"):
        await layer.group_add(group, member)
        await layer.group_add(group, excluded)
    stream = QueueKeys(layer.prefix).inbox(client_of(member)).stream
    captured: list[bytes] = []
    with admin.monitor() as watching:
        await layer.group_send("room", MESSAGE, exclude=[excluded])
        while not captured:
            line = await asyncio.to_thread(watching.next_command)
            captured = [part.encode() for part in line["command"].split() if part.startswith("gAAAA")]
    assert await asyncio.wait_for(layer.receive(member), PATIENCE) == MESSAGE
    heads = ["g60000|room", "g60000|hall", "m60000|room|", "m60000|room,hall|", f"m60000|hall|{excluded}"]
    for head in (*heads, f"m60000|room,hall|{excluded}", f"d60000|{excluded}"):
        admin.xadd(stream, {head: captured[0]})
    for channel in (member, excluded):
        await layer.send(channel, {"type": "after"})
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"type": "after"}
    admin.xadd(stream, {f"m60000|room|{excluded}": captured[0]})  # what it was sent as is a message
    assert await asyncio.wait_for(layer.receive(member), PATIENCE) == MESSAGE


@pytest.mark.parametrize("source", ["inbox", "group"])
async def test_what_stood_in_a_stream_is_no_message_elsewhere(make_queue: MakeQueue, admin: Any, source: str) -> None:
    """Out of an inbox that nobody reads right now: it is that of a process that stands still."""
    layer, still = make_queue(**KEYS), make_queue(**KEYS)
    own, theirs = await layer.new_channel(), await still.new_channel()
    await layer.group_add("room", own)
    await still.group_add("other-room", theirs)
    keys = QueueKeys(layer.prefix)
    captured: list[bytes] = []
    with admin.monitor() as watching:
        await (still.send(theirs, MESSAGE) if source == "inbox" else still.group_send("other-room", MESSAGE))
        while not captured:
            line = await asyncio.to_thread(watching.next_command)
            if '"XADD"' in line["command"] or line["command"].startswith("XADD"):
                captured = [part.encode() for part in line["command"].split() if part.startswith("gAAAA")]
    assert await asyncio.wait_for(still.receive(theirs), PATIENCE) == MESSAGE
    [payload] = captured
    stream = keys.inbox(client_of(own)).stream
    for head in (f"d60000|{own}", "g60000|room", "k0|"):
        admin.xadd(stream, {head: payload})
    put(admin, keys, "jobs", payload)
    await layer.send(own, {"type": "after"})
    await layer.send("jobs", {"type": "after"})
    for channel in (own, "jobs"):
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"type": "after"}
    assert undecodable(layer) == 4


# Clocks


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
async def test_a_message_from_a_process_with_a_wrong_clock_is_read(
    make_queue: MakeQueue, admin: Any, hours: int
) -> None:
    layer = make_queue(**KEYS, random_prefix_length=0)
    keys = QueueKeys(layer.prefix)
    context = keys.channel_context("jobs")
    fernet = MsgPackSerializer(**KEYS).make_fernet(OLD)
    data = len(context).to_bytes(2) + context + msgspec.msgpack.encode({"type": "test"})
    put(admin, keys, "jobs", fernet.encrypt_at_time(data, int(time.time()) + hours * 3600))
    assert await asyncio.wait_for(layer.receive("jobs"), PATIENCE) == {"type": "test"}
