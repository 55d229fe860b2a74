"""`fast-channels worker`, as a process and its signals. What the queue adds is tried in `test_with_queue.py`."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fast_channels.cli.program import run
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from tests.cli.processes import JOBS, RunningWorker

IN_MEMORY = """
import asyncio
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

def setup():
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    for kind, number in {messages}:
        asyncio.run(layer.send("jobs", {{"type": f"job.{{kind}}", "number": number}}))
"""

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO fast_channels\.worker: (.+)$", re.MULTILINE)

Write = Callable[[str, str], None]


def start(folder: Path, *options: str, messages: object = ()) -> RunningWorker:
    """A worker with a layer in memory, in which `messages` wait."""
    (folder / "jobs.py").write_text(JOBS)
    (folder / "layers.py").write_text(IN_MEMORY.format(messages=messages))
    return RunningWorker(folder, "jobs:router", "--layers", "layers:setup", *options)


def lines(worker: RunningWorker) -> list[str]:
    return LINE.findall(worker.text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_with_exit_code_0_and_a_line_for_each_step(
    tmp_path: Path, number: signal.Signals
) -> None:
    with start(tmp_path, "--concurrency", "2", messages=[("do", 1)]) as worker:
        await worker.says("did 1")
        await worker.says("worker started")
        worker.signal(number)
        assert await worker.end() == 0
        first, second, *_, last = lines(worker)  # what it has just done may not be acknowledged yet
        assert first.startswith("worker started: channels jobs, mails; 2 at a time of each; <InMemoryChannelLayer")
        assert second.startswith(f"worker stopping ({number.name}): ")
        assert last == "worker stopped: 1 message handled, 0 failures"
        assert "Traceback" not in worker.text


async def test_a_handler_that_runs_is_finished(tmp_path: Path) -> None:
    with start(tmp_path, "jobs", messages=[("wait", 1), ("do", 2)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping (SIGTERM): 1 handler at work, for up to 8 s")
        (tmp_path / "go").touch()
        assert await worker.end() == 0
        assert "ended 1" in worker.text
        assert "did 2" not in worker.text
        assert lines(worker)[2:] == ["worker: 1 handler finished", "worker stopped: 1 message handled, 0 failures"]


async def test_a_handler_that_takes_too_long_is_cancelled(tmp_path: Path) -> None:
    with start(tmp_path, "--grace", "0.1", messages=[("wait", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0
        assert "ended 1" not in worker.text
        assert "1 cancelled and given back (not done after 0.1 s): jobs job.wait" in worker.text


async def test_a_second_signal_is_a_hurry(tmp_path: Path) -> None:
    with start(tmp_path, "--grace", "300", messages=[("wait", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping")
        worker.signal(signal.SIGINT)
        assert await worker.end() == 0
        assert "1 cancelled and given back (SIGINT): jobs job.wait" in worker.text


async def test_a_third_signal_ends_it_whatever_its_handlers_do(tmp_path: Path) -> None:
    with start(tmp_path, "--grace", "300", messages=[("refuse_to_end", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping")
        worker.signal(signal.SIGTERM)
        await worker.says("refused")
        worker.signal(signal.SIGTERM)
        assert await worker.end() == -signal.SIGTERM


async def test_what_a_handler_raises_is_logged_with_its_traceback(tmp_path: Path) -> None:
    with start(tmp_path, messages=[("fail", 7)]) as worker:
        await worker.says("ValueError: no such picture: 7")
        assert "ERROR fast_channels.worker: channel jobs: the handler of job.fail failed\nTraceback" in worker.text
        assert worker.process.poll() is None
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0


async def test_logging_that_the_application_has_set_up_is_left_alone(tmp_path: Path) -> None:
    with start(tmp_path) as worker:
        await worker.says("worker started")
    (tmp_path / "mine.py").write_text("import logging; logging.basicConfig(level='INFO', format='mine: %(message)s')")
    (tmp_path / "jobs.py").write_text(f"import mine\n{JOBS}")
    with RunningWorker(tmp_path, "jobs:router", "--layers", "layers:setup") as worker:
        await worker.says("mine: worker started")
        assert not lines(worker)


# What cannot be served is said at once: in this process


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["jobs:router", "unheard-of"], "channel 'unheard-of' is not in the router, which has: jobs, mails"),
        (["jobs:router", "jobs!abc"], "channel 'jobs!abc' belongs to one process"),
        (["jobs:router", "no spaces"], "Channel name must be a valid unicode string"),
        (["jobs:Job"], "name the channels that the worker serves"),
        (["jobs:router", "--layer", "xyz"], "Channel layer 'xyz' not registered (registered: 'default')"),
        (["jobs:Path.cwd.nothing"], "module jobs has no 'Path.cwd.nothing'"),
        (["jobs:__doc__"], "a worker needs a ChannelNameRouter"),
    ],
)
def test_a_mistake_ends_it_with_exit_code_2_and_one_line(
    write: Write,
    channel_layers: ChannelLayerRegistry,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    write("jobs.py", JOBS)
    channel_layers.register("default", InMemoryChannelLayer())
    assert run(["worker", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fast-channels: {text}")
    assert error.count("\n") == 1
