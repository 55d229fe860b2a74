"""What the topics say about values, files, subscriptions and connections is so. The rest is the contract's."""

import datetime as dt
import decimal
import enum
import re
import shlex
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import is_dataclass
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from fast_channels import names
from fast_channels.exceptions import ServerRefused
from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)
from fast_channels.layers.mailbox import OVERFLOW_POLICIES
from fast_channels.layers.redis.keys import InboxKeys, QueueKeys, SharedKeys
from fast_channels.layers.redis.link import Patience
from fast_channels.testing.contract.values import VALUES, Markup, Ratio
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import ROOT, Page
from tests.support.servers import KINDS, server_binary

PROMISES = "docs/topics/promises.md"
WAY = "docs/topics/way.md"

TYPES: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    "a subclass of `str`, `int`, `float` or `bytes`, such as `SafeString` or `numpy.float64`": (
        (Markup, Ratio),
        (str, float),
    ),
    "`None`, `bool`, `int` (up to 64 bits), `float`, `str`, `bytes`": ((type(None), bool, int, float, str, bytes), ()),
    "`bytearray`, `memoryview`": ((bytearray, memoryview), (bytes,)),
    "`list`, `tuple`, `set`, `frozenset`": ((list, tuple, set, frozenset), (list,)),
    "`dict`": ((dict,), (dict,)),
    "a `datetime` with a time zone": ((dt.datetime,), (dt.datetime,)),
    "a `datetime` without one, `date`, `time`, `timedelta`": ((dt.datetime, dt.date, dt.time, dt.timedelta), (str,)),
    "`UUID`, `Decimal`": ((uuid.UUID, decimal.Decimal), (str,)),
    "an `Enum`": ((enum.Enum,), (str,)),
}
"""The types of each row of the table: sent, and received (none: the same)."""


class Struct(msgspec.Struct):
    x: int


def rows_of(page: str, first_heading: str) -> dict[str, str]:
    """The rows of the table that begins with `first_heading`, as a dict of its first two columns."""
    table = Page(page).text.partition(f"| {first_heading} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| ([^|-][^|]*) \| ([^|]*) \|$", table, re.MULTILINE))


def row_of(sent: Any) -> str:
    if is_dataclass(sent):
        return "a dataclass, a `msgspec.Struct`"
    if isinstance(sent, dt.datetime) and sent.tzinfo is None:
        return "a `datetime` without one, `date`, `time`, `timedelta`"
    return next(row for row, (kinds, _) in TYPES.items() if isinstance(sent, kinds))


def test_every_row_of_the_table_of_values_is_known() -> None:
    assert set(rows_of(PROMISES, "sent")) == {*TYPES, "a dataclass, a `msgspec.Struct`"}


@pytest.mark.parametrize(("sent", "received"), VALUES)
def test_what_the_contract_tests_is_what_the_table_says(sent: Any, received: Any) -> None:
    row = row_of(sent)
    kinds = TYPES[row][1] if row in TYPES else (dict,)
    assert type(received) in (kinds or (type(sent),))


async def test_a_struct_and_a_set_as_well(in_memory_layer: InMemoryChannelLayer) -> None:
    channel = await in_memory_layer.new_channel()
    await in_memory_layer.send(channel, {"struct": Struct(1), "set": {1}})
    assert await in_memory_layer.receive(channel) == {"struct": {"x": 1}, "set": [1]}


async def test_json_has_no_bytes_and_no_times(redis_url: str) -> None:
    async with RedisPubSubChannelLayer(hosts=[redis_url], prefix="json", serializer_format="json") as layer:
        channel = await layer.new_channel()
        await layer.send(channel, {"bytes": b"\0", "time": dt.datetime(2024, 1, 2, tzinfo=dt.UTC)})
        assert await layer.receive(channel) == {"bytes": "AA==", "time": "2024-01-02T00:00:00Z"}


def test_the_numbers_are_those_of_the_code() -> None:
    text = " ".join(Page(PROMISES).text.split())
    patience = Patience()
    assert f"shorter than {names.MAX_NAME_LENGTH} characters" in text
    assert f"at most {BaseChannelLayer.max_message_size // 2**20} MiB" in text
    assert f"{patience.send:g} seconds by default (`send_timeout`)" in text
    assert f"A ping every {patience.ping_every:g} seconds finds it: after {patience.answer:g} seconds" in text
    assert set(re.findall(r"^- `(\w+)`", Page(PROMISES).text, re.MULTILINE)) == set(OVERFLOW_POLICIES)


async def test_a_delivery_that_fails_is_given_back(
    open_page: Callable[[str], Page], in_memory_layer: InMemoryChannelLayer
) -> None:
    work_on = (await open_page(PROMISES).run())["work_on"]
    done: list[Any] = []

    async def fails(message: Any) -> None:
        raise RuntimeError

    async def works(message: Any) -> None:
        done.append(message)

    await in_memory_layer.send("jobs", {"number": 1})
    with pytest.raises(RuntimeError):
        await work_on(in_memory_layer, fails)
    await work_on(in_memory_layer, works)
    assert done == [{"number": 1}]


# The way of a message


def test_the_files_on_the_way_exist() -> None:
    source = ROOT / "src" / "fast_channels"
    steps = re.findall(r"\*\*`([\w/]+\.py)`\*\*", Page(WAY).text)
    assert len(steps) >= 14
    for step in steps:
        assert [path for path in source.rglob("*.py") if path.as_posix().endswith(f"/{step}")], step


KEY = re.compile(r"^(asgi\|\S+) +(hash|stream|set|list|sorted set|string|pub/sub)  ", re.MULTILINE)


def test_every_key_is_in_the_list() -> None:
    keys = QueueKeys("asgi")
    inbox, shared = keys.inbox("CLIENT"), keys.shared("CHANNEL")
    named = [*inbox, *shared, keys.group("GROUP"), *keys.leases(), keys.wake("CHANNEL")]
    named.append(keys.answered(inbox.meta, "CLIENT").replace(b"{i:CLIENT}", "{…}".encode()))
    assert sorted(key for key, _ in KEY.findall(Page(WAY).text)) == sorted(key.decode() for key in named)
    assert len(named) == len(InboxKeys._fields) + len(SharedKeys._fields) + 5


async def test_the_types_are_those_in_the_list(queue_layer: RedisChannelLayer, redis_url: str) -> None:
    types = {key.replace("asgi|", f"{queue_layer.prefix}|"): kind for key, kind in KEY.findall(Page(WAY).text)}
    await use(queue_layer)
    async with Redis.from_url(redis_url, decode_responses=True) as server:
        found = [key async for key in server.scan_iter(f"{queue_layer.prefix}|*")]
        assert len(found) > 10
        for key in found:
            assert types[as_in_the_list(str(key))] == str(await server.type(key)).replace("zset", "sorted set")


def as_in_the_list(key: str) -> str:
    """The same key of somebody or something else."""
    if "|answered|" in key:
        return re.sub(r"\{.*", "{…}|answered|CLIENT", key)
    for kind, name in {"i": "CLIENT", "c": "CHANNEL", "g": "GROUP"}.items():
        key = re.sub(rf"\{{{kind}:[^}}]*\}}", f"{{{kind}:{name}}}", key)
    return key


async def use(layer: BaseChannelLayer) -> None:
    """Do with a layer what can be done with it, and leave something."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for _ in range(2):
        await layer.send(channel, {"type": "direct"})
        await layer.group_send("room", {"type": "group"})
        assert [(await layer.receive(channel))["type"] for _ in range(2)] == ["direct", "group"]
    await layer.group_add("left", channel)
    await layer.group_discard("left", channel)
    await layer.inspect()
    if isinstance(layer, RedisChannelLayer):
        await use_shared(layer)


async def use_shared(layer: RedisChannelLayer) -> None:
    for channel in ("jobs", "jobs", "jobs", "other"):
        await layer.send(channel, {"type": "job"})
    await layer.receive("jobs")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with layer.delivery("jobs"):
                raise ZeroDivisionError
    await layer.dead_letters.channels()
    await layer.dead_letters.list("jobs")


@pytest.fixture(params=KINDS)
async def restricted(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server with the user of the page, as a URL."""
    words = next(shlex.split(block.code.replace("\\\n", "")) for block in Page(WAY).blocks if "ACL" in block.code)
    with ServerProcess(binary=server_binary(request.param)) as server:
        async with Redis.from_url(server.url) as admin:
            await admin.execute_command(*words[1:])  # type: ignore[no-untyped-call]
        yield server.url.replace("redis://", "redis://chat:secret@")


async def test_the_rights_of_the_page_are_all_that_the_layers_need(
    restricted: str, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in (RedisChannelLayer, RedisPubSubChannelLayer):
        async with kind(hosts=[restricted]) as layer:
            await use(layer)
            await layer.flush()
            await use(layer)
    assert "NOPERM" not in caplog.text


async def test_who_has_the_rights_of_the_page_reaches_nothing_else(restricted: str) -> None:
    for kind in (RedisChannelLayer, RedisPubSubChannelLayer):
        async with kind(hosts=[restricted], prefix="asgi2") as layer:
            with pytest.raises(ServerRefused, match="NOPERM"):
                await layer.send("jobs", {"type": "job"})


async def test_the_queue_has_three_connections() -> None:
    with ServerProcess() as server:
        async with RedisChannelLayer(hosts=[server.url]) as layer, Redis.from_url(server.url) as admin:
            await use(layer)
            clients = [client for client in await admin.client_list() if client["name"] == "fast-channels"]
            assert len(clients) == 3


async def test_subscriptions_and_connections_are_as_few_as_the_page_says() -> None:
    with ServerProcess() as server:
        async with RedisPubSubChannelLayer(hosts=[server.url]) as layer, Redis.from_url(server.url) as admin:
            for _ in range(5):
                channel = await layer.new_channel()
                for group in ("red", "blue"):
                    await layer.group_add(group, channel)
            await layer.group_send("red", {"type": "test"})
            (shard,) = (await layer.inspect())["servers"]
            assert list(shard["subscribers"].values()) == [1, 1, 1]  # the channels, and two groups
            clients = [client for client in await admin.client_list() if client["name"] == "fast-channels"]
            assert len(clients) == 2
