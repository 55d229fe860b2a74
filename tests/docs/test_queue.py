"""What the page about the queue says: each sentence has a test, and here are those that stand nowhere else."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import ChannelFull, FastChannelsError, ServerUnreachable
from fast_channels.layers.redis import RedisChannelLayer, held, memberships, wiring
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.rules import OLDEST_REDIS, OLDEST_VALKEY, complaints
from fast_channels.layers.redis.topology import shard_of
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import ROOT, Page
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE

NAME = "docs/topics/queue.md"
MESSAGE = {"type": "test"}

NOTE = re.compile(r"^\[\^(?P<name>[\w-]+)\]: (?P<tests>.+(?:\n    .+)*)$", re.MULTILINE)
TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>[\w:]+)`")
REFERENCE = re.compile(r"\[\^([\w-]+)\](?!:)")

MakeQueue = Callable[..., RedisChannelLayer]


# The page


def notes() -> dict[str, list[tuple[str, str]]]:
    """The notes of the page, each with the tests that it names: file, and name within it."""
    return {note["name"]: TEST.findall(note["tests"]) for note in NOTE.finditer(Page(NAME).text)}


def prose() -> str:
    """The text in which every sentence has a note: without headings, tables and the introduction."""
    _, _, text = NOTE.sub("", Page(NAME).text).partition("\n## ")
    return "\n".join(line for line in text.splitlines() if not line.startswith(("#", "|")))


NO_PROMISE = (
    "Choose an `expiry` that is longer than the longest time without workers.",
    "With `delivery()`, a message of a shared channel is handled **at least once**.",
    "A process that receives gives a sign of life every second.",
    "**Alive means that its event loop turns at least once in 4 seconds.**",
    "The layer promises what its server keeps.",
    (
        "The notes are about a server whose process is killed; the rest is what [its own "
        "documentation](https://valkey.io/topics/persistence/) says, and is not tested."
    ),
    "- **Exactly once.**",
    "Handlers of `delivery()` must bear a second time.",
    "- **A message for who is gone.**",
    "- **All or nothing for a group.**",
    "[How to look at them, send them again and drop them](../guide/workers.md#dead-letters).",
)
"""Sentences that begin or sum up what others say."""


def test_every_sentence_has_a_note() -> None:
    text = " ".join(prose().split())
    for sentence in NO_PROMISE:
        assert sentence in text, sentence
        text = text.replace(sentence, "")
    bare = [match[0] for match in re.finditer(r"[^.]{0,60}[\w)`*]\.\**(?= |$)", text)]
    assert not bare


def test_only_what_the_server_says_of_itself_stands_in_a_table_without_a_note() -> None:
    rows = [line for line in Page(NAME).text.partition("\n## The server\n")[2].splitlines() if line.startswith("| ")]
    bare = [row for row in rows[1:] if not REFERENCE.search(row)]
    assert len(bare) == 2
    assert "`appendfsync everysec`" in bare[0]
    assert "snapshots" in bare[1]


def test_every_note_is_used_and_there() -> None:
    assert set(REFERENCE.findall(Page(NAME).text)) == set(notes())


@pytest.mark.parametrize("note", notes())
def test_the_tests_that_a_note_names_exist(note: str) -> None:
    assert notes()[note], "it names no test"
    for path, name in notes()[note]:
        assert (ROOT / path).exists(), path
        found: Any = import_module(path.removesuffix(".py").replace("/", "."))
        for part in name.split("::"):
            found = getattr(found, part)
        assert callable(found)


def test_the_numbers_are_those_of_the_code() -> None:
    text = " ".join(Page(NAME).text.split())
    layer = RedisChannelLayer()
    assert f"With `expiry={layer.expiry}`, which is the default" in text
    assert f"After `max_deliveries` deliveries, {layer.max_deliveries} by default" in text
    assert (layer.retry_delay, held.LONGEST_DELAY, layer.group_expiry) == (0.5, 60.0, 86400)
    assert "half a second by default" in text
    assert f"at least once in {wiring.LEASE / 1000:g} seconds" in text
    assert f"holds {wiring.INBOX_BOUND:,} messages" in text
    assert f"keeps its latest {wiring.DEAD_LETTERS:,}" in text
    assert wiring.BEAT == 1
    assert (
        f"older than Redis {OLDEST_REDIS[0]}.{OLDEST_REDIS[1]} or Valkey {OLDEST_VALKEY[0]}.{OLDEST_VALKEY[1]}" in text
    )


# What it says that no other suite shows


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[MakeQueue]:
    """Makes layers that hear each other."""
    prefix = f"test-{uuid4().hex[:12]}"
    async with AsyncExitStack() as stack:

        def make(url: str = redis_url, **options: Any) -> RedisChannelLayer:
            layer = RedisChannelLayer(hosts=[url], prefix=prefix, **options)
            stack.push_async_callback(layer.close)
            return layer

        yield make


@pytest.fixture
def proxy(redis_server: ServerProcess) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


def change(monkeypatch: pytest.MonkeyPatch, **constants: float) -> None:
    """Change what holds for all queues, wherever it is used."""
    for name, module in tuple(sys.modules.items()):
        if name.startswith("fast_channels.layers.redis."):
            for constant in constants.keys() & vars(module).keys():
                monkeypatch.setattr(module, constant, constants[constant])


async def next_of(layer: RedisChannelLayer, channel: str) -> Any:
    return await asyncio.wait_for(layer.receive(channel), 20)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def fail_on(layer: RedisChannelLayer, channel: str) -> None:
    """Take the next message, and fail."""
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(20), layer.delivery(channel):
            raise ZeroDivisionError


async def depth(layer: RedisChannelLayer, channel: str) -> int:
    return int((await layer.inspect())["channels"].get(channel, {}).get("depth", 0))


# Acceptance


async def test_nothing_is_stored_by_a_send_that_finds_no_server(make: MakeQueue, proxy: Proxy) -> None:
    proxy.close()
    with pytest.raises(ServerUnreachable):
        await make(proxy.url, send_timeout=0.2).send("jobs", MESSAGE)
    proxy.forward()
    assert await depth(make(), "jobs") == 0


async def test_a_group_whose_member_cannot_be_reached_reaches_the_others(redis_url: str, second_redis_url: str) -> None:
    with Proxy(int(second_redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        options: dict[str, Any] = {"hosts": [redis_url, proxy.url], "prefix": f"test-{uuid4().hex[:12]}"}
        keys = QueueKeys(options["prefix"])
        group, here, there = (
            next(name for name in map(f"{kind}{{}}".format, range(100)) if shard(key(name)) == where)
            for kind, key, where in (("g", keys.group, 0), ("c", in_slot(keys), 0), ("c", in_slot(keys), 1))
        )
        async with RedisChannelLayer(**options, send_timeout=2) as layer:
            for channel in (here, there):
                await layer.group_add(group, channel)
            proxy.close()
            with pytest.raises(ServerUnreachable):
                await layer.group_send(group, MESSAGE)
            assert await next_of(layer, here) == MESSAGE


def shard(key: bytes) -> int:
    return shard_of(key.rpartition(b"|")[0], 2)


def in_slot(keys: QueueKeys) -> Callable[[str], bytes]:
    return lambda channel: keys.shared(channel).ready


# Capacity and expiry


async def test_the_settings_of_the_sender_count(make: MakeQueue) -> None:
    small, large = make(capacity=1, expiry=1.5), make(capacity=3)
    await small.send("jobs", MESSAGE)
    with pytest.raises(ChannelFull):
        await small.send("jobs", MESSAGE)
    await large.send("jobs", {"type": "last"})
    await asyncio.sleep(1.6)
    assert await next_of(small, "jobs") == {"type": "last"}


async def test_a_job_that_waits_for_longer_than_expiry_is_dropped_and_counted(make: MakeQueue) -> None:
    sender, worker = make(expiry=0.1), make()
    await sender.send("jobs", MESSAGE)
    await asyncio.sleep(0.2)
    await sender.send("jobs", {"type": "last"})
    assert await next_of(worker, "jobs") == {"type": "last"}
    assert worker.statistics().dropped == {"expired": 1}


async def test_a_full_inbox_refuses_and_counts(make: MakeQueue, redis_url: str) -> None:
    owner, sender = make(), make()
    channel = await owner.new_channel()
    await owner.group_add("room", channel)
    meta = QueueKeys(owner.prefix).inbox(owner.client_prefix).meta
    with Redis.from_url(redis_url) as server:
        server.hincrby(meta.decode(), "in", wiring.INBOX_BOUND)
        with pytest.raises(ChannelFull, match="the inbox of the process"):
            await sender.send(channel, MESSAGE)
        await sender.group_send("room", MESSAGE)
        assert sender.statistics().dropped == {"inbox_full": 2}
        server.hincrby(meta.decode(), "in", -1)
        await sender.send(channel, MESSAGE)
    assert await next_of(owner, channel) == MESSAGE


async def test_a_message_is_given_back_to_a_shared_channel_that_is_full(make: MakeQueue) -> None:
    layer = make(capacity=1, retry_delay=0)
    await layer.send("jobs", {"number": 1})
    with pytest.raises(ZeroDivisionError):
        async with layer.delivery("jobs"):
            await layer.send("jobs", {"number": 2})
            raise ZeroDivisionError
    assert [(await next_of(layer, "jobs"))["number"] for _ in range(2)] == [1, 2]


# Delivery


async def test_an_acknowledgement_waits_for_its_server_as_long_as_it_takes(make: MakeQueue, proxy: Proxy) -> None:
    layer, other = make(proxy.url, send_timeout=1), make()
    await other.send("jobs", MESSAGE)

    async def handle() -> None:
        async with layer.delivery("jobs"):
            proxy.close()

    handling = asyncio.ensure_future(handle())
    done, _ = await asyncio.wait({handling}, timeout=1.5)
    assert not done
    proxy.forward()
    await asyncio.wait_for(handling, 20)
    jobs = (await other.inspect())["channels"].get("jobs", {"depth": 0, "held": {}})
    assert (jobs["depth"], jobs["held"]) == (0, {})


async def test_a_channel_keeps_its_latest_dead_letters(make: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, DEAD_LETTERS=3)
    layer = make(max_deliveries=1, expiry=1.5)
    for number in range(5):
        await layer.send("jobs", {"number": number})
        await fail_on(layer, "jobs")
    await asyncio.sleep(1.6)  # longer than `expiry`
    assert [letter.message["number"] for letter in await layer.dead_letters.list("jobs")] == [2, 3, 4]


async def test_a_dead_letter_that_is_sent_again_begins_afresh(make: MakeQueue) -> None:
    layer = make(max_deliveries=2, retry_delay=0.01, expiry=1.5)
    await layer.send("jobs", MESSAGE)
    for again in (1, 0):
        for _ in range(2):
            await fail_on(layer, "jobs")
        assert await layer.dead_letters.channels() == {"jobs": 1}
        assert await layer.dead_letters.send_again("jobs") == 1
        await asyncio.sleep(1.6 * again)  # longer than `expiry`
    assert await next_of(layer, "jobs") == MESSAGE


# Leases


@asynccontextmanager
async def frozen_worker(layer: RedisChannelLayer) -> AsyncIterator[None]:
    """Somebody who has taken a message of `jobs` in an event loop that turns no more until the end of the block."""
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()
    await asyncio.to_thread(loop.run_until_complete, stack.enter_async_context(layer.delivery("jobs")))
    yield
    await asyncio.to_thread(loop.run_until_complete, stack.aclose())
    await asyncio.to_thread(loop.run_until_complete, layer.close())
    loop.close()


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease ends after 0.4 s."""
    change(monkeypatch, LEASE=400, BEAT=0.1)


@pytest.mark.usefixtures("short_leases")
async def test_what_a_dead_worker_held_waits_for_the_next_who_receives(make: MakeQueue) -> None:
    sender = make()
    await sender.send("jobs", MESSAGE)
    async with frozen_worker(make()):
        await asyncio.sleep(1)
        assert sum((await sender.inspect())["channels"]["jobs"]["held"].values()) == 1
        assert await next_of(make(), "jobs") == MESSAGE


# Memberships


async def test_a_membership_that_nobody_renews_ends(make: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, SHORTEST=0)
    loop = asyncio.new_event_loop()
    dead, observer = make(group_expiry=2), make()

    async def join() -> None:
        await dead.group_add("room", await dead.new_channel())

    await asyncio.to_thread(loop.run_until_complete, join())
    assert (await observer.inspect())["groups"] == {"room": [f"inbox {dead.client_prefix}"]}
    await asyncio.sleep(2.2)
    assert not (await observer.inspect())["groups"].get("room")
    await asyncio.to_thread(loop.run_until_complete, dead.close())
    loop.close()


async def test_a_shared_channel_is_one_member(make: MakeQueue) -> None:
    one, other = make(), make()
    for layer in (one, other):
        await layer.group_add("room", "jobs")
    await one.group_send("room", MESSAGE)
    assert await depth(other, "jobs") == 1
    await one.close()
    assert (await other.inspect())["groups"].get("room") == ["jobs"]
    await other.close()
    observer = make()
    assert (await observer.inspect())["groups"].get("room") == ["jobs"]
    await observer.group_discard("room", "jobs")
    assert not (await observer.inspect())["groups"].get("room")


async def test_a_shared_channel_leaves_its_groups_when_nobody_keeps_it_there(
    make: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "SHORTEST", 0)
    layer, observer = make(group_expiry=2), make()
    await layer.group_add("room", "jobs")
    await layer.close()
    assert (await observer.inspect())["groups"].get("room") == ["jobs"]
    async with asyncio.timeout(PATIENCE):
        while (await observer.inspect())["groups"].get("room"):
            await asyncio.sleep(0.05)


async def test_a_flush_is_for_all_processes(make: MakeQueue) -> None:
    owner, other = make(), make()
    channel = await owner.new_channel()
    await owner.group_add("room", channel)
    for to in ("jobs", channel):
        await owner.send(to, MESSAGE)
    await other.flush()
    await owner.group_send("room", MESSAGE)
    assert (await other.inspect())["groups"] == {}
    for to in ("jobs", channel):
        await owner.send(to, {"type": "last"})
        assert await next_of(owner, to) == {"type": "last"}


# The server


def test_a_server_that_cannot_keep_the_promises_is_complained_of() -> None:
    good = {"redis_version": "7.0.0", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
    assert complaints(good, "") == []
    for bad in ({"redis_version": "6.2.14"}, {"maxmemory_policy": "allkeys-lru"}, {"aof_enabled": "0"}):
        assert len(complaints({**good, **bad}, "")) == 1


async def test_a_failover_loses_what_was_not_replicated_and_nothing_else() -> None:
    with (
        ServerProcess() as master,
        ServerProcess() as replica,
        Proxy(master.port) as to_replica,
        Proxy(master.port) as proxy,
        Redis(port=replica.port) as admin,
    ):
        admin.replicaof("127.0.0.1", str(to_replica.port))
        await until(lambda: asyncio.to_thread(lambda: admin.info("replication")["master_link_status"] == "up"))
        async with RedisChannelLayer(hosts=[proxy.url]) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.send("jobs", {"number": 1})
            with Redis(port=master.port) as other_admin:
                assert await asyncio.to_thread(other_admin.wait, 1, 10_000) == 1
            to_replica.blackhole()
            await layer.send("jobs", {"number": 2})  # acknowledged
            master.kill()
            admin.replicaof("NO", "ONE")
            proxy.target = ("127.0.0.1", replica.port)
            await layer.send("jobs", {"number": 3})
            assert [(await next_of(layer, "jobs"))["number"] for _ in range(2)] == [1, 3]
            await until(lambda: reaches(layer, "room", channel))


async def test_a_server_that_was_restarted_without_its_data_is_told_the_memberships() -> None:
    with ServerProcess() as server:
        async with RedisChannelLayer(hosts=[server.url]) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            server.restart()
            await until(lambda: reaches(layer, "room", channel))


async def reaches(layer: RedisChannelLayer, group: str, channel: str) -> bool:
    """Whether what is sent to the group arrives: while connections are made again, it may not."""
    with suppress(FastChannelsError, TimeoutError):
        await layer.group_send(group, MESSAGE)
        return await asyncio.wait_for(layer.receive(channel), 0.1) == MESSAGE
    return False
