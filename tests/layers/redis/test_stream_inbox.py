"""An inbox on the queue is read and kept, whatever its server loses."""

import asyncio
from typing import Any

import pytest
from redis import Redis

from fast_channels.exceptions import ChannelFull, ServerRefused
from fast_channels.layers.redis import RedisChannelLayer, pulse, stream_inbox
from fast_channels.layers.redis.keys import InboxKeys, QueueKeys
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import QUIET, MakeQueue
from tests.support.proxy import Proxy
from tests.support.waiting import until


def keys_of(layer: RedisChannelLayer, client: str = "") -> InboxKeys:
    return QueueKeys(layer.prefix).inbox(client or layer.client_prefix)


def epoch_of(layer: RedisChannelLayer, admin: "Redis") -> object:
    return admin.hget(keys_of(layer).meta.decode(), "epoch")


async def made_again(layer: RedisChannelLayer, admin: "Redis", before: object) -> None:
    """The inbox is there, in another life."""
    await until(lambda: epoch_of(layer, admin) not in (None, before), timeout=10)


def member_of(layer: RedisChannelLayer, admin: "Redis") -> str:
    return f"i:{layer.client_prefix}:{epoch_of(layer, admin)}"


def members(layer: RedisChannelLayer, admin: "Redis", group: str) -> set[object]:
    return set(admin.zrange(f"{layer.prefix}|{{g:{group}}}|members", 0, -1))


async def receives(layer: RedisChannelLayer, channel: str, *numbers: int) -> None:
    async with asyncio.timeout(10):
        assert [(await layer.receive(channel))["n"] for _ in numbers] == list(numbers)


async def all_is_read(layer: RedisChannelLayer, admin: "Redis") -> None:
    """The server knows that everything was read, and keeps nothing of it."""
    keys = keys_of(layer)

    def is_read() -> bool:
        came, went = admin.hmget(keys.meta.decode(), "in", "out")
        return came == went and admin.xlen(keys.stream.decode()) == 0

    await until(is_read)


# Coming and going


async def test_who_goes_before_the_server_has_answered_leaves_nothing_behind(
    make_queue: MakeQueue, admin: "Redis", proxy: Proxy
) -> None:
    layer = make_queue(QUIET, hosts=[proxy.url])
    proxy.delay(0.2)
    coming = asyncio.ensure_future(layer.new_channel())
    await until(lambda: admin.exists(keys_of(layer).meta.decode()))
    coming.cancel()
    proxy.delay(0)
    await layer.close()
    assert admin.keys(f"{layer.prefix}|{{i:*") == []


# What is lost comes back


async def test_after_a_flush_of_the_server_all_is_as_before_within_a_second_or_two(
    make_queue: MakeQueue, admin: "Redis", caplog: pytest.LogCaptureFixture
) -> None:
    layer, sender = make_queue(), make_queue()
    channel = await layer.new_channel()
    for group in ("one", "two"):
        await layer.group_add(group, channel)
    await layer.group_add("one", "jobs")
    for n in range(3):
        before = epoch_of(layer, admin)
        admin.flushall()
        await made_again(layer, admin, before)
        await until(lambda: members(layer, admin, "one") == {member_of(layer, admin), "c:jobs"}, timeout=10)
        await until(lambda: members(layer, admin, "two") == {member_of(layer, admin)}, timeout=10)
        await sender.group_send("one", {"n": n})
        await sender.group_send("two", {"n": 10 + n})
        await sender.send(channel, {"n": 20 + n})
        await receives(layer, channel, n, 10 + n, 20 + n)
        assert await sender.receive("jobs") == {"n": n}
    assert f"had lost inbox {layer.client_prefix}: made again, with 2 groups" in caplog.text
    assert layer.statistics().restored == 3


async def test_what_waits_here_counts_also_after_the_server_lost_its_count(
    make_queue: MakeQueue, admin: "Redis"
) -> None:
    layer = make_queue(capacity=3)
    channel = await layer.new_channel()
    for n in range(2):
        await layer.send(channel, {"n": n})
    await all_is_read(layer, admin)
    before = epoch_of(layer, admin)
    admin.flushall()
    await made_again(layer, admin, before)
    await until(lambda: admin.hget(keys_of(layer).handed.decode(), channel) == "-2")
    await layer.send(channel, {"n": 2})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"n": 3})
    await receives(layer, channel, 0, 1, 2)


async def test_a_server_that_forgets_its_scripts_is_taught_again(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    for n in range(3):
        admin.script_flush()
        await layer.group_add(f"room-{n}", channel)
        await layer.group_send(f"room-{n}", {"n": n})
        await receives(layer, channel, n)
    await all_is_read(layer, admin)


@pytest.mark.parametrize("part", InboxKeys._fields)
async def test_an_inbox_lives_on_without_any_of_its_keys(make_queue: MakeQueue, admin: "Redis", part: str) -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.send(channel, {"n": 0})
    await receives(layer, channel, 0)
    admin.delete(getattr(keys_of(layer), part))
    if part == "meta":
        await made_again(layer, admin, None)
        await until(lambda: members(layer, admin, "room") == {member_of(layer, admin)})
    await layer.send(channel, {"n": 1})
    await layer.group_send("room", {"n": 2})
    await receives(layer, channel, 1, 2)


async def test_no_life_of_an_inbox_has_the_name_of_another(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    epochs = set()
    for _ in range(3):
        await layer.new_channel()
        epochs.add(epoch_of(layer, admin))
        await layer.close()
    assert len(epochs) == 3


# A server that took over, with a clock that is behind


class Failover:
    """A channel whose stream is exchanged for what a server that took over has of it."""

    def __init__(self, layer: RedisChannelLayer, admin: "Redis", proxy: Proxy) -> None:
        self.layer = layer
        self.admin = admin
        self.proxy = proxy
        self.stream = keys_of(layer).stream

    async def begin(self) -> None:
        self.channel = await self.layer.new_channel()
        for n in range(2):
            await self.layer.send(self.channel, {"n": n})
            await receives(self.layer, self.channel, n)
            await asyncio.sleep(0.002)  # the next id has another millisecond
        inbox = self.layer._here().inboxes[self.layer.client_prefix]
        self.first = inbox._read_ids[0].decode()

    async def happen(self, *entries: tuple[str, int]) -> None:
        self.admin.delete(self.stream)
        head = pack_head("d", 60_000, self.channel)
        for id, n in entries:
            self.admin.xadd(self.stream, {head: self.layer.serialize({"n": n})}, id=id)
        self.proxy.cut()
        await until(lambda: self.layer.statistics().reconnections >= 2)


@pytest.fixture
async def failover(make_queue: MakeQueue, admin: "Redis", proxy: Proxy) -> Failover:
    scene = Failover(make_queue(QUIET, hosts=[proxy.url]), admin, proxy)
    await scene.begin()
    return scene


async def test_behind_the_cursor_only_what_is_new_is_read(failover: Failover, caplog: pytest.LogCaptureFixture) -> None:
    new = f"{failover.first.partition('-')[0]}-9"
    await failover.happen((failover.first, 0), (new, 7))
    await receives(failover.layer, failover.channel, 7)
    assert "a failover?" in caplog.text
    await failover.layer.send(failover.channel, {"n": 8})
    await receives(failover.layer, failover.channel, 8)


async def test_a_stream_that_is_gone_goes_on_behind_the_cursor(failover: Failover) -> None:
    await failover.happen()
    for n in range(3):
        await failover.layer.send(failover.channel, {"n": n})
    await receives(failover.layer, failover.channel, 0, 1, 2)


async def test_an_inbox_that_is_made_again_is_read_from_its_start_also_while_a_read_is_under_way(
    failover: Failover,
) -> None:
    layer, admin = failover.layer, failover.admin
    before = epoch_of(layer, admin)
    admin.flushall()
    await made_again(layer, admin, before)
    payload = layer.serialize({"n": 7})
    admin.xadd(failover.stream, {pack_head("d", 60_000, failover.channel): payload}, id=failover.first)
    await layer.send(failover.channel, {"n": 8})
    await receives(layer, failover.channel, 7, 8)


# Connections and tasks that end


async def test_messages_arrive_once_and_in_order_through_killed_connections(
    make_queue: MakeQueue, admin: "Redis"
) -> None:
    layer, sender = make_queue(QUIET), make_queue(QUIET)
    channel = await layer.new_channel()
    for n in range(30):
        await sender.send(channel, {"n": n})
        if n % 3 == 0:
            admin.client_kill_filter(_type="normal", skipme=True)
    await receives(layer, channel, *range(30))
    statistics = layer.statistics()
    assert statistics.disconnections >= statistics.reconnections > 0


async def test_a_read_whose_answer_is_lost_is_asked_for_again(make_queue: MakeQueue, proxy: Proxy) -> None:
    layer, sender = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    channel = await layer.new_channel()
    proxy.drop_reply(which=lambda data: b"it is me" in data)
    await sender.send(channel, {"n": 1, "mark": "it is me"})
    await sender.send(channel, {"n": 2})
    await receives(layer, channel, 1, 2)
    assert layer.statistics().reconnections == 1


async def test_who_cancels_every_task_there_is_silences_nobody_for_long(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.05)
    layer, sender = make_queue(), make_queue()
    channel = await layer.new_channel()
    links = [task for task in asyncio.all_tasks() if "redis://" in task.get_name()]
    assert links
    for task in links:
        task.cancel()
    await asyncio.wait(links)
    await sender.send(channel, {"n": 1})
    await receives(layer, channel, 1)


async def test_a_reader_that_is_refused_tries_again_and_says_so_once(
    make_queue: MakeQueue, admin: "Redis", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_inbox, "TRY_AGAIN", 0.02)
    monkeypatch.setattr(stream_inbox, "BLOCK", 10)
    layer = make_queue()
    channel = await layer.new_channel()
    stream = keys_of(layer).stream
    for n in range(2):
        admin.set(stream, "no stream")
        await until(lambda: caplog.text.count("WRONGTYPE") == n + 1)  # noqa: B023
        await asyncio.sleep(0.1)  # it tries again, and again
        admin.delete(stream)
        await layer.send(channel, {"n": n})
        await receives(layer, channel, n)
    assert caplog.text.count("cannot be read") == 2


async def test_who_may_have_no_inbox_is_told_at_once(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    admin.set(keys_of(layer).meta, "no hash")
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        await layer.new_channel()
    admin.delete(keys_of(layer).meta)
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    await receives(layer, channel, 1)


# What was read


async def test_what_was_read_is_deleted(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(20):
        await layer.send(channel, {"n": n})
        await layer.group_send("room", {"n": n})
    await all_is_read(layer, admin)
    await receives(layer, channel, *(n for n in range(20) for _ in range(2)))
    assert (await layer.inspect())["inboxes"][layer.client_prefix]["unread"] == 0


async def test_what_is_read_with_the_news_of_a_flush_is_counted_from_there(
    make_queue: MakeQueue, admin: "Redis", proxy: Proxy
) -> None:
    layer, other = make_queue(QUIET, hosts=[proxy.url]), make_queue()
    channel = await layer.new_channel()
    await other.send(channel, {"n": 0})
    await receives(layer, channel, 0)
    await all_is_read(layer, admin)
    proxy.stop_reading("server")
    for n in range(1, 4):
        await other.send(channel, {"n": n})
    await other.flush()
    for n in range(4, 9):
        await other.send(channel, {"n": n})
    proxy.forward()
    await all_is_read(layer, admin)
    await receives(layer, channel, *range(4, 9))


# Life


async def test_closing_leaves_nothing_behind(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    for n in range(3):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send(channel, {"n": n})
    await layer.close()
    left = [key for key in admin.keys(f"{layer.prefix}|*") if "answered" not in key]
    assert left == []


def test_a_loop_that_takes_over_keeps_memberships_leases_and_messages(redis_url: str, admin: "Redis") -> None:
    layer = RedisChannelLayer([redis_url], prefix="taken-over")
    ends = f"{layer.prefix}|{{leases}}|ends"

    async def first() -> tuple[str, str]:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send(channel, {"n": 0})
        await layer.send(channel, {"n": 1})
        await receives(layer, channel, 0)
        return channel, layer._here().client

    async def second(channel: str, client: str) -> Any:
        await receives(layer, channel, 1)
        before = admin.zscore(ends, client) or 0.0
        await until(lambda: (admin.zscore(ends, client) or 0.0) > before, "it is alive, and buried when it is not")
        async with RedisChannelLayer([redis_url], prefix=layer.prefix) as other:
            await other.group_send("room", {"n": 2})
            await other.send(channel, {"n": 3})
        await receives(layer, channel, 2, 3)
        await layer.close()

    channel, client = asyncio.run(first())
    asyncio.run(second(channel, client))


async def test_what_is_received_makes_room_at_once_on_a_server_that_is_used_for_the_first_time(
    own_server: ServerProcess,
) -> None:
    async with RedisChannelLayer([own_server.url], capacity=1) as layer:
        channel = await layer.new_channel()
        for number in range(3):
            await layer.send(channel, {"n": number})
            await receives(layer, channel, number)
