"""Replies are cut, and connections are killed: nothing is lost, and nothing comes twice."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from fast_channels.testing.server import ServerProcess
from tests.faults.queue.conftest import Everywhere
from tests.faults.queue.scene import Scene, eventually
from tests.faults.queue.weakened import weaken
from tests.faults.traffic import every
from tests.support.proxy import Proxy

on_valkey = pytest.mark.parametrize("kind", ["valkey9"])

CUTS: dict[str, Callable[[Proxy], None]] = {
    "the whole reply": lambda proxy: proxy.drop_reply(),
    "all but a byte": lambda proxy: proxy.cut_reply_after(1),
    "all but 20 bytes": lambda proxy: proxy.cut_reply_after(20),
    "the connection": lambda proxy: proxy.cut(reset=True),
}

SHARED, SPECIFIC, GROUP = "jobs", "specific", "room"

ACKNOWLEDGED = b"$1\r\n1\r\n"
"""The answer to an acknowledgement."""


# The reply of a send


async def cut_replies_of_sends(server: ServerProcess, scene: Scene, to: str, times: int = 12) -> None:
    """Messages are sent while something cuts replies: to a shared channel, to one that somebody owns, to a group."""
    scene.work(naively=scene.queue == "plain")
    owned = await scene.own("o", GROUP)
    scene.members = {GROUP: [owned]}
    with Proxy(server.port) as proxy:
        sender = scene.sender(url=proxy.url)
        send = partial(sender.group_send if to == GROUP else sender.send, owned if to == SPECIFIC else to)
        await send()
        for number in range(times):
            list(CUTS.values())[number % len(CUTS)](proxy)
            await send()
        proxy.forward()
        await send()
        await scene.all_handled()
        assert proxy.accepted > times / 2, "connections broke"
        await sender.layer.close()


@pytest.mark.parametrize("to", [SHARED, SPECIFIC, GROUP])
async def test_a_send_whose_reply_is_cut_is_stored_once(everywhere: Everywhere, to: str) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        await cut_replies_of_sends(server, scene, to)
        assert scene.judge().once_in_order() == []
        assert scene.ledger.count("acknowledged") == 14

    await everywhere(scenario)


@on_valkey
@pytest.mark.parametrize("to", [SHARED, SPECIFIC])
async def test_twin_a_send_that_is_repeated_without_a_number_is_doubled(
    server: ServerProcess, scene: Scene, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(["a batch that comes again is stored again"], monkeypatch)
    await cut_replies_of_sends(server, scene, to)
    assert scene.judge().doubled


@on_valkey
async def test_twin_a_client_that_retries_by_itself_doubles(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        await cut_replies_of_sends(server, scene, SHARED)
        assert scene.judge().doubled


# The reply of a read


READ_CUTS: dict[str, Callable[[Proxy], None]] = {
    **CUTS,
    "the reply with the message": lambda proxy: proxy.drop_reply(which=lambda reply: b"number" in reply),
}


def cut_acknowledgement(proxy: Proxy) -> None:
    proxy.drop_reply(which=lambda reply: reply == ACKNOWLEDGED)


async def cut_replies_of_reads(server: ServerProcess, scene: Scene, to: str, *, naively: bool = False) -> None:
    """Messages are sent while what the receiver is answered is cut, again and again."""
    with Proxy(server.port) as proxy:
        layer = scene.layer(proxy.url)
        if to == SHARED:
            scene.work(layer=layer, naively=naively)
        channel = SHARED if to == SHARED else await scene.own(layer=layer)
        sender = scene.sender()
        acknowledged = to == SHARED and scene.queue == "layer"
        cuts = [*READ_CUTS.values(), *([cut_acknowledgement] if acknowledged else [])]
        for number in range(3 * len(cuts)):
            accepted = proxy.accepted
            cuts[number % len(cuts)](proxy)
            await scene.send(sender, 5, channel)
            await eventually(lambda: proxy.accepted > accepted, "it connects again")  # noqa: B023
            proxy.forward()
        await sender.send(channel)
        await scene.all_handled()
        await scene.stop()


@pytest.mark.parametrize(("to", "how"), [(SHARED, "delivery"), (SHARED, "receive"), (SPECIFIC, "receive")])
async def test_a_read_whose_reply_is_cut_is_read_again(everywhere: Everywhere, to: str, how: str) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        await cut_replies_of_reads(server, scene, to, naively=how == "receive")
        assert scene.judge().once_in_order() == []

    await everywhere(scenario)


@on_valkey
async def test_twin_a_request_that_the_server_does_not_remember_loses_its_answer(
    server: ServerProcess, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(["a request that comes again gets something else"], monkeypatch)
    scene.settle = 2.0
    await cut_replies_of_reads(server, scene, SHARED)
    assert scene.judge().broken()


@on_valkey
async def test_twin_a_pop_whose_reply_is_cut_is_lost(server: ServerProcess, tmp_path: Path) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        scene.settle = 2.0
        await cut_replies_of_reads(server, scene, SHARED, naively=True)
        assert scene.judge().broken()


# Connections are killed


async def kill_connections(server: ServerProcess, scene: Scene, seconds: float) -> None:
    """Ten times a second, whoever is connected is thrown out, among them subscribers."""
    scene.work()
    owned = await scene.own("o", GROUP)
    scene.members = {GROUP: [owned]}
    senders = [scene.sender(f"to {to}") for to in (SHARED, SPECIFIC, GROUP)]
    with Redis(port=server.port) as admin:
        async with (
            senders[0].load(SHARED),
            senders[1].load(owned),
            senders[2].load(GROUP, group=True),
            every(0.1, lambda: admin.client_kill_filter(skipme=True)),
        ):
            await asyncio.sleep(seconds)
    for sender, to in zip(senders, (SHARED, owned), strict=False):
        await sender.send(to)
    await senders[2].group_send(GROUP)
    await scene.all_handled()


async def test_connections_that_are_killed_ten_times_a_second(everywhere: Everywhere) -> None:
    async def scenario(server: ServerProcess, scene: Scene) -> None:
        await kill_connections(server, scene, 3)
        assert scene.judge().once_in_order() == []
        assert scene.ledger.count("acknowledged") > 20

    await everywhere(scenario)


@on_valkey
async def test_twin_a_pop_whose_connection_is_killed_in_the_same_breath_is_lost(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with Scene(server.url, tmp_path, "plain") as scene:
        scene.work(naively=True)
        sender = scene.sender()
        await sender.send(SHARED)
        await scene.all_handled()
        with Redis(port=server.port) as admin:
            for number in range(10):
                pipeline = admin.pipeline(transaction=False)
                pipeline.rpush(SHARED, f'["{SHARED}", {{"from": "by hand", "number": {number}}}]')
                pipeline.client_kill_filter(skipme=True)
                await asyncio.to_thread(pipeline.execute)
                scene.log("by hand").write("acknowledged", SHARED, {"from": "by hand", "number": number})
                await asyncio.sleep(random.random() * 0.1)
        scene.settle = 1.0
        await scene.all_handled()
        assert scene.judge().broken()
