"""What holds for every script: what it names, where its keys are, and what a server does that refuses it."""

import asyncio
import binascii
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hiredis import ReplyError
from redis import OutOfMemoryError, Redis

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis import RedisChannelLayer, pulse, scripts
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Link, LinkEvents, Patience
from fast_channels.layers.redis.scripts import Script, is_unknown_script, run, run_on
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import endpoint_of
from tests.layers.redis.lua.conftest import Desk, Inbox, ResponseError, Shared
from tests.support.waiting import until

FILES = sorted((Path(scripts.__file__).parent / "lua").glob("*.lua"))
SCRIPTS = {script.name: script for script in vars(scripts).values() if isinstance(script, Script)}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


# What they are


def test_every_file_is_a_script_that_is_offered() -> None:
    assert sorted(SCRIPTS) == [path.stem for path in FILES]
    assert {name for name in scripts.__all__ if name.isupper()} == {
        name for name, thing in vars(scripts).items() if isinstance(thing, Script)
    }
    assert repr(SCRIPTS["push"]) == "<Script push>"


@each_file
def test_a_script_says_what_it_needs_and_how_it_may_run(path: Path) -> None:
    """With its first line, a server refuses it before it has changed anything, or not at all."""
    first, *lines = path.read_text().splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", first)
    assert [line for line in lines[:8] if line.startswith("-- KEYS: ")]


@each_file
def test_a_script_touches_the_keys_that_it_was_given_alone(path: Path) -> None:
    calls = re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]*\)?))?", path.read_text())
    assert calls
    strange = {
        (command, first)
        for command, first in calls
        if not re.match(r"KEYS\[\d+\]|unpack\(KEYS\)", first) and command not in ("TIME", "SPUBLISH")
    }
    assert strange <= {("XINFO", "'STREAM'"), ("PEXPIRE", "key")}  # a stream of KEYS, and each of KEYS


def documented(path: Path) -> set[int]:
    return {int(number) for number in re.findall(r"KEYS\[(\d+)\]", path.read_text())}


# Where their keys are


def slot(key: bytes) -> int:
    return binascii.crc_hqx(key[key.index(b"{") + 1 : key.index(b"}")], 0) % 16384


Recorded = list[tuple[str, Sequence[bytes]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The scripts that were run, with their keys."""
    found: Recorded = []
    command = Script.command

    def record(self: Script, keys: Sequence[bytes], args: Sequence[Any], *, whole: bool = False) -> bytes:
        found.append((self.name, tuple(keys)))
        return command(self, keys, args, whole=whole)

    monkeypatch.setattr(Script, "command", record)
    return found


async def use_everything(
    layer: RedisChannelLayer, other: RedisChannelLayer, kept: Callable[[], object] = lambda: True
) -> None:
    """Everything that a layer does on a server, but burying the dead."""
    channel, foreign = await layer.new_channel(), await other.new_channel()
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}
    for member in (channel, foreign, "jobs"):
        await layer.group_add("room", member)
    await layer.group_send("room", {"n": 2})
    assert await other.receive(foreign) == await layer.receive(channel) == await layer.receive("jobs") == {"n": 2}
    for number in range(2):
        await layer.send("jobs", {"n": number})
        with pytest.raises(KeyError):
            async with layer.delivery("jobs"):
                raise KeyError(number)
    first, second = await layer.dead_letters.list("jobs")
    await layer.dead_letters.send_again("jobs", first.id)
    await layer.dead_letters.drop("jobs", second.id)
    async with other.delivery("jobs") as message:
        assert message == {"n": 0}
        await until(kept)
    assert (await layer.inspect())["groups"]["room"]
    await layer.group_discard("room", foreign)
    await layer.send("jobs", {"n": 3})
    await layer.flush()
    await asyncio.sleep(0.15)  # what was read is deleted
    await layer.release_channel(channel)
    await other.close()
    await layer.close()


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[Callable[..., tuple[RedisChannelLayer, RedisChannelLayer]]]:
    layers: list[RedisChannelLayer] = []

    def make(url: str = redis_url, **options: Any) -> tuple[RedisChannelLayer, RedisChannelLayer]:
        prefix = options.pop("prefix", uuid4().hex)
        layers[:] = [RedisChannelLayer([url], prefix, max_deliveries=1, **options) for _ in range(2)]
        return layers[0], layers[1]

    yield make
    for layer in layers:
        await layer.close()


async def test_the_keys_of_every_call_are_in_one_slot(
    pair: Callable[..., Any], recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.05)
    layer, other = pair()
    await use_everything(layer, other, lambda: "keep" in dict(recorded))
    assert {name for name, _ in recorded} == set(SCRIPTS)
    assert {name: len({slot(key) for key in keys}) for name, keys in recorded} == dict.fromkeys(SCRIPTS, 1)
    used = {path.stem: documented(path) for path in FILES}
    for name, keys in recorded:
        assert len(keys) >= max(used[name], default=0), name


async def test_a_user_needs_the_keys_and_channels_of_the_prefix_alone(
    own_server: ServerProcess, pair: Callable[..., Any]
) -> None:
    with Redis(port=own_server.port, decode_responses=True) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">secret", "~app|*", "&app|*", "+@all", "-@dangerous", "+info"
        )
        layer, other = pair(own_server.url.replace("//", "//app:secret@"), prefix="app")
        await use_everything(layer, other)
        refused = {entry["object"] for entry in admin.acl_log()}
        assert refused <= {"config|get"}  # by which a server that cannot keep the promise is found


# Servers that do not know them


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    link = Link(endpoint_of(redis_url), LinkEvents(), Patience())
    yield link
    await link.close()


async def test_a_server_that_does_not_know_a_script_gets_its_text_once(link: Link, admin: "Redis") -> None:
    admin.script_flush()
    keys = QueueKeys(uuid4().hex).leases()
    for _ in range(2):
        assert await run(link, scripts.LEASE_SCRIPT, keys, "me", 4000, 16) == []
    admin.script_flush()
    assert link.connection is not None
    for _ in range(2):
        assert await run_on(link.connection, scripts.LEASE_SCRIPT, keys, "me", 4000, 16) == []


async def test_any_other_refusal_is_the_callers(link: Link, admin: "Redis") -> None:
    admin.set(key := uuid4().hex, "no sorted set")
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        await run(link, scripts.MEMBERS, [key.encode()])
    assert link.connection is not None
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        await run_on(link.connection, scripts.MEMBERS, [key.encode()])


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [("NOSCRIPT No matching script. Please use EVAL.", True), ("ERR NOSCRIPT", False), ("", False)],
)
def test_an_unknown_script_is_told_by_its_code(answer: str, *, unknown: bool) -> None:
    assert is_unknown_script(answer) is unknown


# Servers that refuse


class Scene:
    """An inbox, a group, a channel with a message that waits, one that is held, and two dead letters."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.inbox: Inbox = desk.inbox()
        self.inbox.attend()
        self.inbox.append(1, (9, "a", "d1|a", "x"))
        self.jobs: Shared = desk.channel()
        self.jobs.push(1, *"abcd")
        for request in (1, 2):
            self.jobs.give_back(self.jobs.take_one(request), most=1)
        self.held = self.jobs.take_one(3)

    def run_each(self) -> dict[str, Callable[[], object]]:
        """A call of each script that would change something."""
        desk, inbox, jobs = self.desk, self.inbox, self.jobs
        keys = jobs.keys
        reviving = (keys.ready, keys.payloads, keys.states, keys.dead, keys.reports)
        group = (desk.names.group("room"),)
        return {
            "append": lambda: inbox.append(2, (9, "a", "d1|a", "x"), (9, "b", "d1|b", "x")),
            "push": lambda: jobs.push(2, *"ef"),
            "join": lambda: desk.run(scripts.JOIN, group, 1000, "", "i:x:1"),
            "members": lambda: desk.run(scripts.MEMBERS, group),
            "attend": lambda: inbox.attend(1),
            "report": lambda: desk.run(scripts.REPORT, inbox.keys[:4], 1, inbox.ids()[0], 1, 0, "a", 1),
            "lease": lambda: desk.run(scripts.LEASE_SCRIPT, desk.names.leases(), "x", 4000, 16),
            "take": lambda: jobs.take(4),
            "keep": jobs.keep,
            "acknowledge": lambda: jobs.acknowledge(self.held),
            "give_back": lambda: jobs.give_back(self.held),
            "revive": lambda: desk.run(scripts.REVIVE, reviving, "drop", jobs.wake),
            "empty": lambda: desk.run(scripts.EMPTY, inbox.keys, "f0|"),
            "bury": lambda: desk.run(scripts.BURY, inbox.keys, 1),
        }


@pytest.fixture
def scene(own_server: ServerProcess) -> Iterator[Scene]:
    desk = Desk(own_server.port)
    yield Scene(desk)
    desk.close()


def test_a_server_without_memory_takes_nothing_more_and_gives_what_it_has(scene: Scene) -> None:
    """What would grow is refused before anything is changed; what is handled, given back or dropped is let through."""
    scene.desk.admin.config_set("maxmemory-policy", "noeviction")
    scene.desk.admin.config_set("maxmemory", 1)
    refused = set()
    for name, call in scene.run_each().items():
        before = scene.desk.everything()
        try:
            call()
        except OutOfMemoryError:
            refused.add(name)
            assert scene.desk.everything() == before, name
    assert refused == {"append", "push", "join"}


def test_a_replica_changes_nothing(scene: Scene) -> None:
    scene.desk.admin.replicaof("127.0.0.1", 1)
    before = scene.desk.everything()
    for name, call in scene.run_each().items():
        if name == "members":
            assert call() == []
            continue
        with pytest.raises(ResponseError, match="read only replica"):
            call()
    assert scene.desk.everything() == before


def test_a_server_that_wants_replicas_changes_nothing_without_them(scene: Scene) -> None:
    scene.desk.admin.config_set("min-replicas-to-write", 1)
    before = scene.desk.everything()
    for name, call in scene.run_each().items():
        if name != "members":
            with pytest.raises(ResponseError, match="Not enough good replicas"):
                call()
    assert scene.desk.everything() == before
