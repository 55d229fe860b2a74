"""`fast-channels worker`, as a process and its signals. What the queue adds is tried in `test_with_queue.py`."""

import re
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from fast_channels.cli.program import run
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer
from tests.cli.processes import JOBS, RunningWorker

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO fast_channels\.worker: (.+)$", re.MULTILINE)

Write = Callable[[str, str], None]


class Start:
    """Starts workers on a queue, in which `messages` wait."""

    def __init__(self, folder: Path, queue: RedisChannelLayer, server: list[str]) -> None:
        self.folder = folder
        self._queue = queue
        self._server = server

    async def __call__(self, *options: str, messages: Iterable[tuple[str, int]] = ()) -> RunningWorker:
        (self.folder / "jobs.py").write_text(JOBS)
        for kind, number in messages:
            await self._queue.send("jobs", {"type": f"job.{kind}", "number": number})
        return self.again(*options)

    def again(self, *options: str) -> RunningWorker:
        return RunningWorker(self.folder, "jobs:router", *self._server, *options)


@pytest.fixture
def start(tmp_path: Path, queue: RedisChannelLayer, server: list[str]) -> Start:
    return Start(tmp_path, queue, server)


def lines(worker: RunningWorker) -> list[str]:
    return LINE.findall(worker.text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_with_exit_code_0_and_a_line_for_each_step(
    start: Start, number: signal.Signals
) -> None:
    with await start("--concurrency", "2", messages=[("do", 1)]) as worker:
        await worker.says("did 1")
        await worker.says("worker started")
        worker.signal(number)
        assert await worker.end() == 0
        first, second, *_, last = lines(worker)  # what it has just done may not be acknowledged yet
        assert first.startswith("worker started: channels jobs, mails; 2 at a time of each; <RedisChannelLayer")
        assert second.startswith(f"worker stopping ({number.name}): ")
        assert last == "worker stopped: 1 message handled, 0 failures"
        assert "Traceback" not in worker.text


async def test_a_handler_that_runs_is_finished(start: Start) -> None:
    with await start("jobs", messages=[("wait", 1), ("do", 2)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping (SIGTERM): 1 handler at work, for up to 8 s")
        (start.folder / "go").touch()
        assert await worker.end() == 0
        assert "ended 1" in worker.text
        assert "did 2" not in worker.text
        assert lines(worker)[2:] == ["worker: 1 handler finished", "worker stopped: 1 message handled, 0 failures"]


async def test_a_handler_that_takes_too_long_is_cancelled(start: Start) -> None:
    with await start("--grace", "0.1", messages=[("wait", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0
        assert "ended 1" not in worker.text
        assert "1 cancelled and given back (not done after 0.1 s): jobs job.wait" in worker.text


async def test_a_second_signal_is_a_hurry(start: Start) -> None:
    with await start("--grace", "300", messages=[("wait", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping")
        worker.signal(signal.SIGINT)
        assert await worker.end() == 0
        assert "1 cancelled and given back (SIGINT): jobs job.wait" in worker.text


async def test_a_third_signal_ends_it_whatever_its_handlers_do(start: Start) -> None:
    with await start("--grace", "300", messages=[("refuse_to_end", 1)]) as worker:
        await worker.says("begun 1")
        worker.signal(signal.SIGTERM)
        await worker.says("worker stopping")
        worker.signal(signal.SIGTERM)
        await worker.says("refused")
        worker.signal(signal.SIGTERM)
        assert await worker.end() == -signal.SIGTERM


async def test_what_a_handler_raises_is_logged_with_its_traceback(start: Start) -> None:
    with await start(messages=[("fail", 7)]) as worker:
        await worker.says("ValueError: no such picture: 7")
        assert "ERROR fast_channels.worker: channel jobs: the handler of job.fail failed\nTraceback" in worker.text
        assert worker.process.poll() is None
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0


async def test_logging_that_the_application_has_set_up_is_left_alone(start: Start) -> None:
    with await start() as worker:
        await worker.says("worker started")
    (start.folder / "mine.py").write_text(
        "import logging; logging.basicConfig(level='INFO', format='mine: %(message)s')"
    )
    (start.folder / "jobs.py").write_text(f"import mine\n{JOBS}")
    with start.again() as worker:
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
        (["jobs:router", "--layer", "xyz"], "Channel layer 'xyz' not registered (registered: 'default', 'local')"),
        (
            ["jobs:router", "--layer", "local"],
            "layer 'local' is in-memory: it is within the process of the application",
        ),
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
    channel_layers.register("default", RedisChannelLayer(hosts=["redis://localhost:1"]))
    channel_layers.register("local", InMemoryChannelLayer())
    assert run(["worker", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fast-channels: {text}")
    assert error.count("\n") == 1
