"""`layer.sync` under load: very many threads and messages, and a master that dies while they send."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fast_channels.exceptions import ChannelFull, OutcomeUnknown
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.sync_queue import QueueSyncLayer
from fast_channels.testing.server import NO_SERVER, ServerProcess, find_server_binary
from tests.support.clusters import QUICK, ClusterOfServers, slot_of
from tests.support.sentinels import Trio
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.skipif(find_server_binary() is None, reason=NO_SERVER), pytest.mark.faults]

THREADS = 50
MESSAGES = 100_000


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


def memory() -> int:
    """Bytes of this process that are in memory."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_fifty_threads_send_a_hundred_thousand_messages(server: ServerProcess) -> None:
    sender = RedisChannelLayer([server.url], prefix="many", capacity=20_000)
    receiver = RedisChannelLayer([server.url], prefix="many", capacity=20_000)
    each = MESSAGES // THREADS
    seen: list[list[int]] = [[] for _ in range(THREADS)]

    async def receive(channel: str) -> None:
        for _ in range(MESSAGES):
            message = await receiver.receive(channel)
            seen[message["from"]].append(message["n"])

    def send(thread: int) -> None:
        for number in range(each):
            send_once_there_is_room(sender, channel, {"from": thread, "n": number})

    with sender.sync, receiver.sync:
        channel = receiver.sync.new_channel()
        receiving = threading.Thread(target=lambda: receiver.sync._background.run(lambda: receive(channel)))
        receiving.start()
        send_some(sender, channel="warm")
        before = memory()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(send, range(THREADS)))
        receiving.join(PATIENCE)
        assert not receiving.is_alive()
        assert seen == [list(range(each))] * THREADS
        assert isinstance(sender.sync, QueueSyncLayer)
        assert len(sender.sync._senders.idle) <= THREADS
        assert sender.statistics().sent == MESSAGES + 1
        assert memory() - before < 40 * 1024 * 1024  # of which the numbers that were seen are the most


def send_once_there_is_room(layer: RedisChannelLayer, channel: str, message: dict[str, Any]) -> None:
    """Fifty threads that send may be faster than the one that receives."""
    while True:
        with suppress(ChannelFull):
            return layer.sync.send(channel, message)
        time.sleep(0.01)


def send_some(layer: RedisChannelLayer, channel: str) -> None:
    layer.sync.send(channel, {"n": 0})


@pytest.mark.parametrize("durability", ["server", "replicated"])
def test_a_master_dies_and_threads_go_on(durability: str) -> None:
    with Trio(replicas=2 if durability == "replicated" else 1) as trio:
        layer = RedisChannelLayer(
            prefix=f"test-{uuid4().hex[:12]}", capacity=100_000, durability=durability, send_timeout=20, **trio.options
        )
        accepted: list[list[int]] = [[] for _ in range(4)]
        doubtful: list[set[int]] = [set() for _ in range(4)]
        over = threading.Event()

        def send(thread: int) -> None:
            number = 0
            while not over.is_set():
                number += 1
                try:
                    layer.sync.send("jobs", {"from": thread, "n": number})
                    accepted[thread].append(number)
                except OutcomeUnknown:
                    doubtful[thread].add(number)

        with layer.sync, ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(send, thread) for thread in range(4)]
            time.sleep(0.5)
            asyncio.run(trio.replicated())
            safe = [len(numbers) for numbers in accepted]
            first = trio.master
            first.kill()
            asyncio.run(trio.failed_over(first))
            until_all_send_again(accepted)
            over.set()
            for each in sending:
                each.result(PATIENCE)
            layer.sync.send("jobs", {"n": "last"})
            received: list[list[int]] = [[] for _ in range(4)]
            while (message := layer.sync.receive("jobs", timeout=PATIENCE))["n"] != "last":
                received[message["from"]].append(message["n"])
    for thread in range(4):
        got = received[thread]
        assert got == sorted(set(got)), "doubled, or out of order"
        lost = set(accepted[thread]) - set(got)
        if durability == "replicated":
            assert not lost
        assert not lost & set(accepted[thread][: safe[thread]])
        assert set(got) <= set(accepted[thread]) | doubtful[thread]


def until_all_send_again(accepted: list[list[int]]) -> None:
    counts = [len(numbers) for numbers in accepted]
    deadline = time.monotonic() + PATIENCE
    while not all(len(numbers) > count + 5 for numbers, count in zip(accepted, counts, strict=True)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_master_that_is_cut_off_from_the_others_is_left() -> None:
    """It calls itself a master, and takes what is lost when it meets the others again."""
    with Trio(apart=True) as trio:
        layer = RedisChannelLayer(prefix="cut", capacity=100_000, **trio.options)
        with layer.sync as sync:
            sync.send("jobs", {"n": 0})
            asyncio.run(trio.replicated())
            first = trio.master
            trio.isolate(first)
            asyncio.run(trio.failed_over(first))
            deadline = time.monotonic() + PATIENCE
            with trio.redis(trio.master) as admin:
                while admin.llen("cut|{c:jobs}|ready") < 2:
                    assert time.monotonic() < deadline
                    sync.send("jobs", {"n": 1})
                    time.sleep(0.05)


def test_a_node_of_a_cluster_dies_and_threads_go_on() -> None:
    with ClusterOfServers(3, 1, node_timeout=QUICK) as cluster:
        layer = RedisChannelLayer(cluster.urls, prefix="node", cluster=True, send_timeout=PATIENCE)
        with layer.sync as sync:
            sync.send("jobs", {"n": 0})
            assert sync.receive("jobs", timeout=PATIENCE) == {"n": 0}
            cluster.owner_of(slot_of("node|{c:jobs}|ready")).kill()
            for number in range(1, 50):
                sync.send("jobs", {"n": number})
            assert [sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(49)] == list(range(1, 50))
