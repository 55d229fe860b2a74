"""The server loses its scripts, its data, or has no room for more."""

import asyncio
import time
from pathlib import Path

import pytest
from redis import Redis

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Serve
from tests.faults.queue.ledger import Line
from tests.faults.queue.scene import Scene, eventually

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

# Scripts


async def flush_scripts(server: ServerProcess, scene: Scene) -> None:
    scene.work(naively=scene.queue == "scripted")
    sender = scene.sender()
    with Redis(port=server.port) as admin:
        async with sender.load("jobs"):
            await eventually(lambda: scene.ledger.count("end"))
            for _ in range(30):
                admin.script_flush()
                await asyncio.sleep(0.05)
    await sender.send("jobs")
    await scene.all_handled()


async def test_scripts_that_are_flushed_under_load_are_loaded_again(server: ServerProcess, scene: Scene) -> None:
    owned = await scene.own("o", "room")
    scene.members = {"room": [owned]}
    to_owned, to_group = scene.sender("to owned"), scene.sender("to room")
    async with to_owned.load(owned), to_group.load("room", group=True):
        await flush_scripts(server, scene)
    await scene.all_handled()
    assert scene.judge().once_in_order() == []
    assert scene.ledger.count("acknowledged") > 20
    assert scene.ledger.count("unknown", "unreachable", "refused") == 0


@on_valkey
async def test_twin_a_script_that_is_loaded_once_is_gone(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "scripted") as scene:
        await flush_scripts(server, scene)
        assert scene.ledger.count("refused") > scene.ledger.count("acknowledged") > 0


# Data

SECONDS = 12.0
"""Until everybody has noticed: they look every 10 seconds."""


class Flushed:
    """When the data was destroyed, and when everything was back."""

    began = 0.0
    back = float("inf")
    owner: BaseChannelLayer
    """Whose channel and memberships are gone with it."""

    def destroyed(self, sent: Line) -> bool:
        """Whether what was destroyed may have taken a message with it."""
        return sent.began < self.back

    async def happen(self, server: ServerProcess, scene: Scene) -> None:
        """Destroy all data under load; end some time after messages arrive everywhere again."""
        scene.work(naively=scene.queue == "plain")
        self.owner = scene.layer()
        owned = await scene.own("o", "room", layer=self.owner)
        scene.members = {"room": [owned]}
        senders = [scene.sender(f"to {to}") for to in ("jobs", "owned", "room")]
        async with senders[0].load("jobs"), senders[1].load(owned), senders[2].load("room", group=True):
            await eventually(lambda: all(self.heard_of(scene, sender.log.by) for sender in senders))
            with Redis(port=server.port) as admin:
                self.began = time.monotonic()
                admin.flushall()
            for sender in senders:
                await eventually(lambda: self.heard_of(scene, sender.log.by), timeout=SECONDS)  # noqa: B023
            self.back = time.monotonic()
            await asyncio.sleep(0.5)
        await scene.all_handled(self.destroyed)

    def heard_of(self, scene: Scene, sender: str) -> bool:
        """Whether something that `sender` has sent since was handled."""
        since = {line.number for line in scene.ledger.lines("acknowledged") if line.began > self.began}
        return any(line.sender == sender and line.number in since for line in scene.ledger.lines("end"))


async def test_what_is_sent_after_all_data_was_destroyed_arrives_again_by_itself(
    server: ServerProcess, scene: Scene
) -> None:
    flushed = Flushed()
    await flushed.happen(server, scene)
    verdict = scene.judge(destroyed=flushed.destroyed)
    assert verdict.once_in_order() == []
    assert scene.ledger.count("acknowledged") > 20
    await eventually(lambda: flushed.owner.statistics().restored >= 1, "its owner did not notice")


@on_valkey
async def test_twin_a_membership_that_is_destroyed_and_that_nobody_restores(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.faults.queue.test_data.SECONDS", 2.0)
    flushed = Flushed()
    async with Scene(server.url, tmp_path, "plain") as scene:
        scene.settle = 1.0
        with pytest.raises(AssertionError, match="it did not come true in 2 s"):
            await flushed.happen(server, scene)
        flushed.back = flushed.began
        assert any("lost" in complaint for complaint in scene.judge(destroyed=flushed.destroyed).broken())


# Memory

BULK = "x" * 20_000


async def fill(server: ServerProcess, scene: Scene) -> None:
    """Send until the server has had no room for a while, to a channel that nobody receives on yet."""
    sender = scene.sender()
    with Redis(port=server.port) as admin:
        used = int(admin.info("memory")["used_memory"])
        admin.config_set("maxmemory", used + 8_000_000)
    for _ in range(1000):
        await sender.send("jobs", bulk=BULK)
    scene.work()
    await scene.all_handled()
    for _ in range(20):
        await sender.send("jobs", bulk=BULK)
        await asyncio.sleep(0.02)
    await scene.all_handled()


async def test_a_server_without_memory_refuses_what_it_cannot_keep_and_loses_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(**{"maxmemory-policy": "noeviction"})
    async with Scene(server.url, tmp_path / "ledger") as scene:
        await fill(server, scene)
        assert scene.judge().once_in_order() == []
        outcomes = [line.event for line in scene.ledger.lines("acknowledged", "refused", "unknown", "unreachable")]
        assert outcomes.count("refused") > 100
        assert outcomes.count("acknowledged") > 20
        assert outcomes[-20:] == ["acknowledged"] * 20, "there is room again when messages are handled"


@on_valkey
async def test_twin_a_server_that_evicts_loses_what_it_has_acknowledged(serve: Serve, tmp_path: Path) -> None:
    server = serve(**{"maxmemory-policy": "allkeys-random"})
    async with Scene(server.url, tmp_path / "ledger") as scene:
        scene.settle = 1.0
        await fill(server, scene)
        assert any("lost" in complaint for complaint in scene.judge().broken())
