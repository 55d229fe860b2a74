"""The command on the queue: nothing that a worker took is lost when it stops, and dead letters are looked after."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers.redis import RedisChannelLayer
from tests.cli.processes import JOBS, RunningWorker
from tests.support.waiting import PATIENCE

LAYERS = """
from fast_channels.layers import register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer

def setup():
    layer = RedisChannelLayer(hosts=[{url!r}], prefix={prefix!r}, max_deliveries=2, retry_delay=0.05)
    register_channel_layer("default", layer)
"""


@pytest.fixture
async def layer(redis_url: str, prefix: str) -> AsyncIterator[RedisChannelLayer]:
    """The queue of the workers, here."""
    async with RedisChannelLayer(hosts=[redis_url], prefix=prefix) as layer:
        yield layer


@pytest.fixture
def folder(tmp_path: Path, redis_url: str, prefix: str) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "layers.py").write_text(LAYERS.format(url=redis_url, prefix=prefix))
    return tmp_path


def start(folder: Path, *options: str) -> RunningWorker:
    return RunningWorker(folder, "jobs:router", "jobs", "--layers", "layers:setup", *options)


async def ask(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Runs `fast-channels dead-letters …`: the exit code, and what was printed."""
    command = [sys.executable, "-W", "error", "-m", "fast_channels", "dead-letters", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, "--layers", "layers:setup", cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def job(kind: str, number: int = 0) -> dict[str, Any]:
    return {"type": f"job.{kind}", "number": number}


async def waiting(layer: RedisChannelLayer) -> list[int]:
    """The numbers of the jobs that wait, which are taken."""
    found = []
    while True:
        try:
            found.append((await asyncio.wait_for(layer.receive("jobs"), 2))["number"])
        except TimeoutError:
            return found


async def test_a_stopped_worker_finishes_what_runs_and_leaves_the_rest(folder: Path, layer: RedisChannelLayer) -> None:
    for number, kind in enumerate(["wait", "do", "do"]):
        await layer.send("jobs", job(kind, number))
    with start(folder) as worker:
        await worker.says("begun 0")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping")
        (folder / "go").touch()
        assert await worker.end() == 0
        assert "ended 0" in worker.text
    assert await waiting(layer) == [1, 2]


@pytest.mark.parametrize("second", [False, True], ids=["the time of grace passes", "a second signal"])
async def test_what_a_handler_does_not_finish_is_given_back_to_the_head_at_once(
    folder: Path, layer: RedisChannelLayer, second: bool
) -> None:
    for number in range(3):
        await layer.send("jobs", job("wait", number))
    with start(folder, "--concurrency", "2", "--grace", "300" if second else "0.1") as worker:
        await worker.says("begun 0")
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        if second:
            await worker.says("worker stopping")
            worker.signal(signal.SIGTERM)
        assert await worker.end() == 0
        assert "2 cancelled and given back" in worker.text
    found = await waiting(layer)
    assert sorted(found[:2]) == [0, 1]
    assert found[2:] == [2]
    assert not await layer.dead_letters.channels()


async def test_a_worker_that_waits_takes_nothing_with_it(folder: Path, layer: RedisChannelLayer) -> None:
    with start(folder) as worker:
        await layer.send("jobs", job("do", 1))
        await worker.says("did 1")
        worker.signal(signal.SIGINT)
        await layer.send("jobs", job("do", 2))
        assert await worker.end() == 0
        done = worker.text.count("did 2")
    assert len(await waiting(layer)) + done == 1


async def test_another_worker_handles_what_the_first_gave_back(folder: Path, layer: RedisChannelLayer) -> None:
    await layer.send("jobs", job("wait", 1))
    with start(folder, "--grace", "0") as first:
        await first.says("begun 1")
        with start(folder) as second:
            await second.says("worker started")
            first.signal(signal.SIGTERM)
            await second.says("begun 1")
            (folder / "go").touch()
            await second.says("ended 1")


async def test_the_queue_on_the_server_of_the_environment(
    folder: Path, layer: RedisChannelLayer, redis_url: str, prefix: str
) -> None:
    with RunningWorker(folder, "jobs:router", "--prefix", prefix, REDIS_URL=redis_url) as worker:
        await layer.send("mails", job("do", 1))
        await worker.says("did 1")
    with RunningWorker(folder, "jobs:router", "--prefix", prefix, "--redis-url", redis_url, "jobs") as worker:
        await layer.send("jobs", job("do", 2))
        await worker.says("did 2")


async def test_a_server_that_is_away_is_waited_for(folder: Path) -> None:
    from fast_channels.testing.server import ServerProcess

    with ServerProcess() as server:
        server.stop()
        with RunningWorker(folder, "jobs:router", "--redis-url", server.url) as worker:
            await worker.says("worker started")
            server.start()
            async with RedisChannelLayer(hosts=[server.url]) as layer:
                await layer.send("jobs", job("do", 1))
                await worker.says("did 1")
                server.restart()
                await layer.send("jobs", job("do", 2))
                await worker.says("did 2")
            worker.signal(signal.SIGTERM)
            assert await worker.end() == 0


# Dead letters


async def test_what_always_fails_becomes_a_dead_letter_which_can_be_sent_again_and_dropped(
    folder: Path, layer: RedisChannelLayer
) -> None:
    await layer.send("jobs", job("fail", 7))
    await layer.send("jobs", {"type": "unheard.of"})
    await layer.send("jobs", job("do", 1))
    with start(folder) as worker:
        await worker.says("did 1")
        async with asyncio.timeout(PATIENCE):
            while await layer.dead_letters.channels() != {"jobs": 2}:
                await asyncio.sleep(0.05)
        assert worker.text.count("the handler of job.fail failed") == 2
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0

    assert json.loads((await ask(folder, "list", "--json"))[1]) == {"jobs": 2}
    code, out, err = await ask(folder, "list", "jobs", "--json")
    assert (code, err) == (0, "")
    letters = {letter["message"]["type"]: letter for letter in json.loads(out)}
    failed, unheard = letters["job.fail"], letters["unheard.of"]
    assert (failed["deliveries"], failed["reason"]) == (2, "max_deliveries")
    assert failed["error"] == "ValueError: no such picture: 7"
    assert unheard["error"].startswith("ValueError: No handler for message type unheard.of in Job")

    _, out, _ = await ask(folder, "show", "jobs", failed["id"])
    assert "ValueError: no such picture: 7" in out
    assert '"number": 7' in out

    assert await ask(folder, "send-again", "jobs", failed["id"]) == (0, "1 dead letter sent to jobs again.\n", "")
    assert await waiting(layer) == [7]
    assert await ask(folder, "drop", "jobs", "--yes") == (0, "1 dead letter dropped.\n", "")
    assert await ask(folder, "list") == (0, "There are no dead letters.\n", "")


async def test_a_server_that_cannot_be_reached_is_one_line(folder: Path) -> None:
    (folder / "layers.py").write_text(LAYERS.format(url="redis://localhost:1", prefix="x"))
    code, out, err = await ask(folder, "list")
    assert (code, out) == (1, "")
    assert err.startswith("fast-channels: redis://localhost:1/0 cannot be reached")
    assert err.count("\n") == 1
