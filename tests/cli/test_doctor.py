"""`fast-channels doctor`, as a process, on real servers of every kind."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.cli.doctor import exit_code
from fast_channels.layers.findings import Finding, Level
from fast_channels.testing.server import ServerProcess
from tests.cli.commands import call, end_of
from tests.support.acl import make_user
from tests.support.clusters import ClusterOfServers
from tests.support.sentinels import Trio
from tests.support.tls import Authority

Findings = dict[str, list[dict[str, str]]]

LAYERS = """
from fast_channels.layers import register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

def setup():
    for alias, (kind, options) in {layers!r}.items():
        register_channel_layer(alias, globals()[kind](**options))
"""


@pytest.fixture(scope="module")
def durable() -> Iterator[ServerProcess]:
    """A server that is set up as the guide says."""
    with ServerProcess({"appendonly": "yes"}) as server:
        yield server


async def examine(folder: Path, *arguments: str, **layers: Any) -> tuple[int, Findings]:
    """The exit code, and the findings of all layers by subject. `layers` are kinds with options."""
    if layers:
        (folder / "layers.py").write_text(LAYERS.format(layers=layers))
        arguments = ("--layers", "layers:setup", *arguments)
    done = await call(folder, "doctor", "--json", *arguments)
    assert done.err == ""
    found: Findings = {}
    for layer in json.loads(done.out):
        for finding in layer["findings"]:
            found.setdefault(finding["subject"], []).append(finding)
    return done.code, found


def levels(found: Findings, level: str) -> dict[str, str]:
    """The first text of every subject with findings of a level."""
    chosen = {subject: [each for each in these if each["level"] == level] for subject, these in found.items()}
    return {subject: these[0]["text"] for subject, these in chosen.items() if these}


SUBJECTS = [
    *("connection", "version", "topology", "eviction", "persistence", "memory", "normal buffer", "pubsub buffer"),
    *("latency", "clock", "tls", "user", "permissions", "messages"),
]


@pytest.mark.parametrize("options", [[], ["--pubsub"]], ids=["queue", "pub/sub"])
async def test_where_all_is_well(tmp_path: Path, durable: ServerProcess, options: list[str]) -> None:
    prefix = f"test-{uuid4().hex[:12]}"
    code, found = await examine(tmp_path, "--redis-url", durable.url, "--prefix", prefix, *options)
    assert list(found) == SUBJECTS
    assert levels(found, "wrong") == {}
    assert code == 0
    with Redis(port=durable.port, decode_responses=True) as admin:
        assert [key for key in admin.scan_iter(f"{prefix}|*") if admin.pttl(key) < 0] == []


async def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    config = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "client-output-buffer-limit": "pubsub 1mb 0 0"}
    with ServerProcess(config) as server:
        done = await call(tmp_path, "doctor", REDIS_URL=server.url)
        code, found = await examine(tmp_path, "--pubsub", "--redis-url", server.url)
    lines = [line.strip() for line in done.out.splitlines()]
    assert done.code == 1
    assert done.err == ""
    assert lines[:2] == [f"default: <RedisChannelLayer 'asgi' on {server.url}/0>", f"{server.url}/0"]
    for begin, advice in (
        ("wrong  eviction       maxmemory-policy is allkeys-lru", "-> set it to noeviction"),
        ("wrong  persistence    it keeps nothing on disk", "-> set appendonly to yes"),
        ("wrong  pubsub buffer  a process that does not read", "-> raise it: client-output-buffer-limit pubsub "),
    ):
        [number] = [number for number, line in enumerate(lines) if line.startswith(begin)]
        assert lines[number + 1].startswith(advice)
    assert lines[-1].startswith("3 wrong, ")
    assert (code, list(levels(found, "wrong"))) == (1, ["pubsub buffer"])  # pub/sub keeps nothing


async def test_several_layers_or_one_of_them(tmp_path: Path, durable: ServerProcess) -> None:
    layers = {
        "chat": ("RedisPubSubChannelLayer", {"hosts": [durable.url], "prefix": "chat"}),
        "lost": ("RedisChannelLayer", {"hosts": ["redis://localhost:1"]}),
    }
    code, found = await examine(tmp_path, **layers)
    assert code == 2
    assert [each["level"] for each in found["connection"]] == ["ok", "wrong"]
    code, found = await examine(tmp_path, "--layer", "chat", **layers)
    assert (code, len(found["connection"])) == (0, 1)


async def test_a_wrong_password_is_not_shown(tmp_path: Path) -> None:
    with ServerProcess({"requirepass": "canary-of-the-server"}) as server:
        done = await call(tmp_path, "doctor", REDIS_URL=server.url.replace("//", "//:canary-in-url@"))
        good = await call(tmp_path, "doctor", REDIS_URL=server.url.replace("//", "//:canary-of-the-server@"))
    assert done.code == 2
    assert "wrong  connection     WRONGPASS" in done.out
    assert "-> check the user, the password and the address" in done.out
    assert "canary" not in done.out + done.err + good.out + good.err
    assert "ok     user           default, with a password" in good.out


@pytest.mark.parametrize("kind", ["RedisChannelLayer", "RedisPubSubChannelLayer"])
async def test_a_user_without_rights(tmp_path: Path, durable: ServerProcess, kind: str) -> None:
    prefix = f"test-{uuid4().hex[:12]}"
    queue = kind == "RedisChannelLayer"
    with Redis(port=durable.port) as admin:
        name, password = make_user(admin, "shop-queue" if queue else "shop-live", prefix)
        host = {"host": durable.host, "port": durable.port, "username": name, "password": password}
        layer = (kind, {"hosts": [host], "prefix": prefix})
        code, found = await examine(tmp_path, default=layer)
        assert (code, levels(found, "wrong")) == (0, {})
        assert list(levels(found, "note")) == ["setup"]
        lacked = "xadd" if queue else "publish"
        admin.execute_command("ACL", "SETUSER", name, f"-{lacked}", "resetchannels")
        code, found = await examine(tmp_path, default=layer)
    assert code == 1
    assert list(levels(found, "wrong")) == ["permissions", "messages"]
    [finding] = found["permissions"]
    assert finding["text"] == f"user {name} lacks {lacked}, its channels"
    assert finding["advice"] == f"allow it: ACL SETUSER {name} '&{prefix}|*' '+{lacked}'"


async def test_sentinels(tmp_path: Path, sentinels: Trio) -> None:
    layer = ("RedisChannelLayer", {**sentinels.options, "prefix": f"test-{uuid4().hex[:12]}"})
    _, found = await examine(tmp_path, default=layer)
    texts = [finding["text"] for finding in found["topology"]]
    assert texts == ["3 of 3 Sentinels of 'mymaster' answer, quorum 2", "a master with 1 replica"]
    assert set(levels(found, "wrong")) <= {"persistence"}
    assert found["version"][0]["server"].endswith(f"(127.0.0.1:{sentinels.master.port})")
    options = {**sentinels.options, "service_name": "unheard-of"}
    code, found = await examine(tmp_path, default=("RedisChannelLayer", options))
    assert code == 2
    assert "knows no master 'unheard-of'" in found["topology"][0]["text"]
    assert found["topology"][0]["advice"].startswith("check service_name")


async def test_a_cluster(tmp_path: Path, cluster: ClusterOfServers) -> None:
    prefix = f"test-{uuid4().hex[:12]}"
    layers = {
        alias: (kind, {"hosts": [cluster.url], "cluster": True, "prefix": prefix})
        for alias, kind in (("queue", "RedisChannelLayer"), ("chat", "RedisPubSubChannelLayer"))
    }
    _, found = await examine(tmp_path, **layers)
    assert len(found["connection"]) == 6
    assert set(levels(found, "wrong")) <= {"persistence"}
    assert found["topology"][0]["text"] == "3 masters serve all slots"
    assert found["topology"][1]["text"].startswith("no replica: while this master is away")
    code, found = await examine(tmp_path, "--redis-url", cluster.url)
    assert code == 1
    assert found["topology"][0]["text"] == "it is a node of a Cluster"
    assert found["topology"][0]["advice"] == "give the layer cluster=True"


@pytest.mark.tls
async def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with authority.server("127.0.0.1") as server:
        host = {"host": "127.0.0.1", "port": server.port, "ssl": True}
        trusting = {**host, "ssl_ca_certs": authority.file}
        careless = {**host, "ssl_cert_reqs": "none"}
        for options, level, text in (
            (trusting, "ok", "used, the certificate is verified and for this name"),
            ({**trusting, "ssl_check_hostname": False}, "note", "TLS, but the certificate may be for any name: "),
            (careless, "wrong", "TLS, but the certificate is not verified: "),
        ):
            _, found = await examine(tmp_path, default=("RedisPubSubChannelLayer", {"hosts": [options]}))
            assert found["tls"][0]["level"] == level
            assert found["tls"][0]["text"].startswith(text)
        code, found = await examine(tmp_path, default=("RedisPubSubChannelLayer", {"hosts": [host]}))
        assert code == 2
        assert "issued by an unknown authority: set ssl_ca_certs" in found["connection"][0]["text"]


async def test_in_memory_there_is_nothing_to_connect_to(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(
        "from fast_channels.layers import *\nregister_channel_layer('default', InMemoryChannelLayer())\n"
    )
    done = await call(tmp_path, "doctor", "--layers", "layers")
    assert done.code == 0
    assert "there is no server: messages reach nobody but this one process" in done.out


async def test_on_a_narrow_terminal_nothing_is_lost(tmp_path: Path, durable: ServerProcess) -> None:
    here, there = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fast_channels", "doctor", "--redis-url", durable.url),
        stdout=there,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "50", "TERM": "xterm"},
    )
    done = await end_of(process)
    os.close(there)
    printed = os.read(here, 100_000).decode()
    os.close(here)
    assert (done.code, done.err) == (0, "")
    found = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert all(len(line) <= 50 for line in found.splitlines()[2:])
    assert "a process that does not read what is published is cut off at 32 MB" in " ".join(found.split())


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([], 0),
        ([Finding(Level.OK, "version", ""), Finding(Level.NOTE, "tls", "")], 0),
        ([Finding(Level.WRONG, "eviction", "")], 1),
        ([Finding(Level.WRONG, "eviction", ""), Finding(Level.WRONG, "connection", "")], 2),
    ],
)
def test_what_the_exit_code_says(found: list[Finding], code: int) -> None:
    assert exit_code(found) == code
