"""What the page about security says: the users that it describes can do what their layer does, and nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis, ResponseError

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.certificates import explained
from fast_channels.serializers import SHORTEST_KEY
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import ROOT, Page
from tests.support.acl import commands_of, extras, make_user, rules_of
from tests.support.servers import KINDS, server_binary

PAGE = "docs/topics/security.md"
SOURCE = ROOT / "src" / "fast_channels" / "layers" / "redis"

Layer = RedisChannelLayer | RedisPubSubChannelLayer

each_user = pytest.mark.parametrize(
    ("user", "kind"), [("shop-live", RedisPubSubChannelLayer), ("shop-queue", RedisChannelLayer)]
)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with ServerProcess(binary=server_binary(request.param)) as server:
        yield server


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[Any]:
    with Redis(port=server.port) as admin:
        yield admin


def layer_of(kind: type[Layer], server: ServerProcess, user: tuple[str, str], **options: Any) -> Layer:
    host = {"host": server.host, "port": server.port, "username": user[0], "password": user[1]}
    return kind(hosts=[{**host, "db": options.pop("db", 0)}], prefix="shop", **options)


# The list of commands

IN_LUA = re.compile(r"redis\.call\('([A-Z]+)'(?:, '(STREAM)')?")
IN_PYTHON = re.compile(r"(?:call|execute|packed)\(\s*b?\"([A-Z]+)\"(?:, b\"(GET|SLOTS)\")?")
SUBSCRIBING = re.compile(r'b"(S?(?:PUBLISH|SUBSCRIBE|UNSUBSCRIBE)|EVAL|EVALSHA)"|"(SELECT)"')

OF_ANYBODY = {"hello"}
"""What every user may send."""


def used() -> set[str]:
    """The commands in the source."""
    found = set()
    for path in SOURCE.rglob("*.lua"):
        found |= {"|".join(filter(None, command)) for command in IN_LUA.findall(path.read_text())}
    for path in SOURCE.rglob("*.py"):
        found |= {"|".join(filter(None, command)) for command in IN_PYTHON.findall(path.read_text())}
        found |= {"".join(command) for command in SUBSCRIBING.findall(path.read_text())}
    found.discard("PUBSUB")
    found |= {f"PUBSUB|{shard}{what}" for shard in ("", "SHARD") for what in ("CHANNELS", "NUMSUB")}
    return {command.lower() for command in found} - OF_ANYBODY


def test_the_page_names_every_command_that_a_layer_uses_and_no_other() -> None:
    named = commands_of(rules_of("shop-live")) | commands_of(rules_of("shop-queue"))
    for rules in extras().values():
        named |= commands_of(rules)
    assert named == used()


def test_the_table_is_read() -> None:
    assert extras()["a database that is not 0"] == ["+select"]
    assert len(extras()) == 5


# What a user may do. That it is enough for everything, the contract suite shows.


@each_user
async def test_a_user_does_what_its_layer_does_and_nothing_else(
    server: ServerProcess, admin: Any, user: str, kind: type[Layer]
) -> None:
    name, password = make_user(admin, user)
    async with layer_of(kind, server, (name, password)) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "heard"})
        assert await layer.receive(channel) == {"type": "heard"}
    with Redis(port=server.port, username=name, password=password) as client:
        for command in (["KEYS", "*"], ["FLUSHALL"], ["CONFIG", "GET", "requirepass"], ["MONITOR"], ["ACL", "LIST"]):
            with pytest.raises(ResponseError, match="permission"):
                client.execute_command(*command)


@each_user
async def test_a_user_does_not_reach_another_prefix(
    server: ServerProcess, admin: Any, user: str, kind: type[Layer]
) -> None:
    name, password = make_user(admin, user)
    host = {"host": server.host, "port": server.port, "username": name, "password": password}
    for prefix in ("shop2", "sho", "other"):
        async with kind(hosts=[host], prefix=prefix) as layer:
            with pytest.raises(ServerRefused, match=r"NOPERM|can't access|No permissions"):
                await layer.send("jobs", {"type": "test"})
            with pytest.raises(ServerRefused, match=r"NOPERM|can't access|No permissions"):
                await layer.new_channel()


@each_user
async def test_a_user_that_may_not_send_is_told_so(
    server: ServerProcess, admin: Any, user: str, kind: type[Layer]
) -> None:
    """The twin: each command of the list matters."""
    less = "-publish" if kind is RedisPubSubChannelLayer else "-rpush"
    made = make_user(admin, user, "shop", less)
    async with layer_of(kind, server, made) as layer:
        with pytest.raises(ServerRefused, match=r"(?i)perm|can't run"):
            await layer.send("jobs", {"type": "test"})


@each_user
async def test_another_database_needs_one_command_more(
    server: ServerProcess, admin: Any, user: str, kind: type[Layer]
) -> None:
    made = make_user(admin, user)
    async with layer_of(kind, server, made, db=1) as layer:
        with pytest.raises(ServerRefused, match="'select'"):
            await layer.send("jobs", {"type": "test"})
    make_user(admin, user, "shop", "+select")
    async with layer_of(kind, server, made, db=1) as layer:
        await layer.send("jobs", {"type": "test"})


async def test_the_user_of_a_sentinel_can_ask_for_the_master(server: ServerProcess, admin: Any) -> None:
    config = {"sentinel monitor": f"mymaster {server.host} {server.port} 1"}
    with (
        ServerProcess(config, binary=server.binary, arguments=["--sentinel"]) as sentinel,
        Redis(port=sentinel.port) as at_sentinel,
    ):
        [rules] = [block.code for block in Page(PAGE).blocks if "-p 26379" in block.code]
        assert rules_of("shop") == ["on", ">a long password", "-@all", "+sentinel|masters"], rules
        at_sentinel.execute_command("ACL", "SETUSER", "shop", *rules_of("shop"))
        name, password = make_user(admin, "shop-queue")
        layer = RedisChannelLayer(
            sentinels=[(sentinel.host, sentinel.port)],
            service_name="mymaster",
            sentinel_kwargs={"username": "shop", "password": "a long password"},
            connection_kwargs={"username": name, "password": password},
            prefix="shop",
        )
        async with layer:
            await layer.send("jobs", {"type": "test"})


# The rest of the page


def test_the_texts_about_certificates_are_those_of_the_code() -> None:
    page, code = Page(PAGE).text, (SOURCE / "certificates.py").read_text()
    assert explained(FileNotFoundError(), "h").args[1].startswith("a file that its TLS options name does not exist")
    for text in re.findall(r"^\| `the certificate of … ([^`]+)`", page, re.MULTILINE):
        assert text in code
    assert "`a file that its TLS options name does not exist`" in page


def test_the_length_of_a_key_is_that_of_the_code() -> None:
    assert f"any text of {SHORTEST_KEY} characters or more" in Page(PAGE).text
