"""A worker that is stopped finishes what runs, gives back the rest, and says so."""

import asyncio
import logging
import re
from typing import Any

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.routing import ChannelNameRouter
from fast_channels.worker import run_worker, running
from tests.support.waiting import PATIENCE, until
from tests.worker.working import Jobs, job, stopped, working

LONG = 300.0
"""A time of grace that no test waits for."""


@pytest.fixture
async def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def layer(in_memory_layer: InMemoryChannelLayer) -> InMemoryChannelLayer:
    return in_memory_layer


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "fast_channels.worker")
    return caplog


def worker_lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.getMessage().startswith("worker")]


async def ended(worker: "asyncio.Task[None]") -> None:
    await asyncio.wait({worker}, timeout=PATIENCE)
    assert worker.cancelled()


async def test_a_worker_that_waits_ends_at_once_and_takes_no_more(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    async with working(ChannelNameRouter({"jobs": jobs.consumer(), "mails": jobs.consumer()}), None, layer) as worker:
        await until(lambda: "2 channels" in repr(layer), "both are waited on")
        worker.cancel()
        await until(lambda: "stopping" in log.text)
        await layer.send("jobs", job("do", 2))
        await ended(worker)
    assert layer.channels["jobs"] == [job("do", 2)]
    assert worker_lines(log) == [
        "worker started: channels jobs, mails; 1 at a time of each; <InMemoryChannelLayer: 1 channels, 0 groups>",
        "worker stopping (cancelled): 0 handlers at work",
        "worker stopped: 0 messages handled, 0 failures",
    ]


async def test_a_handler_that_runs_is_finished(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("wait", 1))
    await layer.send("jobs", job("do", 2))
    async with working(jobs.consumer(), ["jobs"], layer, grace=LONG) as worker:
        await until(lambda: jobs.running)
        worker.cancel()
        await until(lambda: "stopping" in log.text)
        assert not worker.done()
        jobs.may_end.set()
        await ended(worker)
    assert jobs.done == [1]
    assert layer.channels["jobs"] == [job("do", 2)]
    assert worker_lines(log)[1:] == [
        "worker stopping (cancelled): 1 handler at work, for up to 300 s",
        "worker: 1 handler finished",
        "worker stopped: 1 message handled, 0 failures",
    ]


async def test_a_handler_that_fails_meanwhile_gives_its_message_back(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("wait_and_fail", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=LONG) as worker:
        await until(lambda: jobs.running)
        worker.cancel()
        await until(lambda: "stopping" in log.text)
        jobs.may_end.set()
        await ended(worker)
    assert layer.channels["jobs"] == [job("wait_and_fail", 1)]
    assert worker_lines(log)[2:] == [
        "worker: 0 handlers finished; 1 failed",
        "worker stopped: 0 messages handled, 1 failure",
    ]


async def test_a_handler_that_takes_too_long_is_cancelled_and_its_message_given_back(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("wait", 1))
    await layer.send("mails", job("wait", 2))
    async with working(jobs.consumer(), ["jobs", "mails"], layer, grace=0.01) as worker:
        await until(lambda: jobs.running == 2)
        worker.cancel()
        await ended(worker)
    assert dict(layer.channels) == {"jobs": [job("wait", 1)], "mails": [job("wait", 2)]}
    assert not jobs.done
    assert worker_lines(log)[2] == (
        "worker: 0 handlers finished; 2 cancelled and given back (not done after 0.01 s): jobs job.wait, mails job.wait"
    )


async def test_without_any_grace_handlers_are_cancelled_at_once(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    await layer.send("jobs", job("wait", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=0) as worker:
        await until(lambda: jobs.running)
        worker.cancel()
        await ended(worker)
    assert layer.channels["jobs"] == [job("wait", 1)]


async def test_to_stop_again_is_to_wait_no_longer(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("wait", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=LONG) as worker:
        await until(lambda: jobs.running)
        worker.cancel()
        await until(lambda: "stopping" in log.text)
        worker.cancel()
        await ended(worker)
    assert layer.channels["jobs"] == [job("wait", 1)]
    assert worker_lines(log)[2].endswith("1 cancelled and given back (cancelled): jobs job.wait")


async def test_a_handler_that_cannot_be_cancelled_does_not_keep_the_worker(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LAST_SECONDS", 0.05)
    await layer.send("jobs", job("refuse_to_end", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=0) as worker:
        await until(lambda: jobs.begun)
        worker.cancel()
        await ended(worker)
    assert "worker: 1 handler did not end in 0.05 s after being cancelled" in log.text
    jobs.may_end.set()
    mine = asyncio.current_task()
    await until(lambda: asyncio.all_tasks() == {mine}, "the handler ends at last")


async def test_what_could_not_be_settled_is_told_apart(jobs: Jobs, log: pytest.LogCaptureFixture) -> None:
    class Away(InMemoryChannelLayer):
        async def _give_back(self, channel: str, message: dict[str, Any]) -> None:
            raise ServerUnreachable("redis://there", 5.0)

    layer = Away()
    await layer.send("jobs", job("wait", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=0) as worker:
        await until(lambda: jobs.running)
        worker.cancel()
        await ended(worker)
    assert "channel jobs: giving back job.wait failed (ServerUnreachable: " in log.text
    assert worker_lines(log)[2] == (
        "worker: 0 handlers finished; 1 without an answer of the layer: what they held comes again"
    )


async def test_what_was_cancelled_and_finished_nevertheless_is_acknowledged(
    jobs: Jobs, layer: InMemoryChannelLayer
) -> None:
    await layer.send("jobs", job("refuse_to_end", 1))
    async with working(jobs.consumer(), ["jobs"], layer, grace=0) as worker:
        await until(lambda: jobs.begun)
        worker.cancel()
        jobs.may_end.set()
        await ended(worker)
    assert not layer.channels


async def test_a_task_of_the_worker_that_is_cancelled_ends_it(
    jobs: Jobs, layer: InMemoryChannelLayer, log: pytest.LogCaptureFixture
) -> None:
    async with working(jobs.consumer(), ["jobs", "mails"], layer) as worker:
        await layer.send("jobs", job("do"))
        await until(lambda: jobs.done)
        [mine] = [task for task in asyncio.all_tasks() if task.get_name() == "fast-channels worker: jobs"]
        mine.cancel()
        with pytest.raises(RuntimeError, match="a task of the worker was cancelled"):
            await asyncio.wait_for(asyncio.shield(worker), PATIENCE)
    assert "worker stopping (a task of the worker was cancelled)" in log.text


async def test_when_its_own_task_is_cancelled_nothing_goes_on(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    async with working(jobs.consumer(), ["jobs"], layer) as worker:
        await until(lambda: "1 channels" in repr(layer))
        [mine] = [task for task in asyncio.all_tasks() if task.get_name() == "fast-channels worker"]
        mine.cancel()
        await ended(worker)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_nothing_is_left_behind(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    await layer.send("jobs", job("wait", 1))
    async with working(jobs.consumer(), ["jobs", "mails"], layer, concurrency=3, grace=0) as worker:
        await until(lambda: jobs.running)
        await stopped(worker)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_layer_is_left_open(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    channel = await layer.new_channel()
    async with working(jobs.consumer(), ["jobs"], layer):
        await layer.send("jobs", job("do"))
        await until(lambda: jobs.done)
    await layer.send(channel, job("do"))
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == job("do")


async def test_a_loop_that_ends_stops_its_worker(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    """`asyncio.run` cancels every task at once, those of the worker too."""

    def in_a_loop_of_its_own() -> None:
        async def main() -> None:
            inner = Jobs()
            await layer.send("jobs", job("wait", 1))
            worker = asyncio.ensure_future(run_worker(inner.consumer(), ["jobs"], layer=layer))
            await until(lambda: inner.running)
            assert not worker.done()

        asyncio.run(main())

    await asyncio.to_thread(in_a_loop_of_its_own)
    assert layer.channels["jobs"] == [job("wait", 1)]


async def test_a_timeout_stops_it_cleanly(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_worker(jobs.consumer(), ["jobs"], layer=layer)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_signals_are_for_the_main_thread(layer: InMemoryChannelLayer, jobs: Jobs) -> None:
    def elsewhere() -> None:
        with pytest.raises(ValueError, match=re.compile("main thread")):
            asyncio.run(run_worker(jobs.consumer(), ["jobs"], layer=layer, handle_signals=True))

    await asyncio.to_thread(elsewhere)
