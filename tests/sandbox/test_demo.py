"""The demo as a user starts it: it works, and leaves no process behind, however it ends."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.processes import Family
from sandbox.valkey import start_valkey
from tests.sandbox.running import PATIENCE, RunningDemo, needs_proc, until

pytestmark = [needs_proc, pytest.mark.timeout(180)]

PARTS = ("sandbox.guard", "valkey-server", "sandbox.server", "sandbox.worker", "sandbox.sender")


def test_check_tries_everything_and_exits_with_0() -> None:
    with RunningDemo("--check") as demo:
        assert demo.process.wait(PATIENCE) == 0, demo.text
        assert "14 of 14 steps went well" in demo.text
        assert "FAILED" not in demo.text
        assert "redis://127.0.0.1:" in demo.text
        assert not demo.members()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo may write."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_prints_its_addresses_and_sigterm_ends_every_process_and_leaves_no_file(folder: Path) -> None:
    with RunningDemo() as demo:
        demo.wait_until_up()
        assert all(demo.members(part) for part in PARTS)
        assert len({*demo.addresses}) == len(demo.members("sandbox.server")) == len(demo.members("sandbox.worker")) == 2
        assert f"ws{demo.addresses[0].removeprefix('http')}/ws/chat/lobby" in demo.text
        assert {int(pid) for pid in re.findall(r"pid (\d+)", demo.text)} <= {*demo.members()}
        assert [*folder.glob("*/store.sqlite")]
        demo.process.terminate()
        assert demo.process.wait(PATIENCE) == 0, demo.text
        assert not demo.members()
        assert "Traceback" not in demo.text
        assert not [*folder.iterdir()]


def test_ctrl_c_ends_every_process_and_more_of_it_does_not_disturb_the_cleaning_up() -> None:
    with RunningDemo() as demo:
        demo.wait_until_up()
        os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does: to the foreground group
        until(lambda: ended_after_one_more(demo, signal.SIGINT), demo)
        assert demo.process.returncode == 0, demo.text
        assert not demo.members()
        assert "Traceback" not in demo.text


def test_a_signal_while_it_starts_ends_every_process() -> None:
    with RunningDemo("--check") as demo:
        until(lambda: bool(demo.members("sandbox.server")), demo)
        demo.process.send_signal(signal.SIGHUP)
        assert demo.process.wait(PATIENCE) == 1, demo.text
        assert not demo.members()


def test_the_parent_killed_takes_every_process_and_file_with_it(folder: Path) -> None:
    with RunningDemo() as demo:
        demo.wait_until_up()
        assert [*folder.glob("*/store.sqlite")]
        demo.process.kill()
        demo.process.wait(PATIENCE)
        demo.wait_until_gone()
        assert not [*folder.iterdir()]


def test_a_process_that_dies_is_replaced_whichever_it_is() -> None:
    parts = ("valkey-server", "sandbox.server", "sandbox.worker", "sandbox.sender")
    with RunningDemo() as demo:
        demo.wait_until_up()
        before = {part: demo.members(part) for part in parts}
        for pids in before.values():
            os.kill(pids[0], signal.SIGKILL)
        until(lambda: demo.text.count("ended with code -9; now pid") == len(parts), demo)
        for part, pids in before.items():
            until(lambda: len(demo.members(part)) == len(pids), demo)  # noqa: B023 - called at once
            assert pids[0] not in demo.members(part)
        assert demo.process.poll() is None
        demo.process.terminate()
        assert demo.process.wait(PATIENCE) == 0, demo.text
        assert not demo.members()


def test_without_its_guard_the_demo_ends_with_1() -> None:
    with RunningDemo() as demo:
        demo.wait_until_up()
        os.kill(demo.members("sandbox.guard")[0], signal.SIGKILL)
        assert demo.process.wait(PATIENCE) == 1, demo.text
        assert not demo.members()
        assert "guard" in demo.text
        assert "ended with code -9" in demo.text


def ended_after_one_more(demo: RunningDemo, what: signal.Signals) -> bool:
    demo.process.send_signal(what)
    return demo.process.poll() is not None


# Which Redis server


@pytest.fixture
async def own_redis() -> AsyncIterator[str]:
    async with Family() as family:
        url, _ = await start_valkey(family)
        yield url


async def test_redis_url_is_used_and_no_other_server_started(own_redis: str) -> None:
    with RunningDemo("--check", redis_url=f"{own_redis}/0") as demo:
        assert await asyncio.to_thread(demo.process.wait, PATIENCE) == 0, demo.text
        assert f"{own_redis}/0  (from REDIS_URL)" in demo.text
        assert "embedded" not in demo.text


def test_a_redis_url_where_nobody_is_fails_and_hides_the_password() -> None:
    with RunningDemo("--check", redis_url="redis://somebody:secret@127.0.0.1:1/0") as demo:
        assert demo.process.wait(PATIENCE) == 1, demo.text
        assert "127.0.0.1:1 cannot be reached" in demo.text.replace("/0", "")
        assert "secret" not in demo.text
        assert not demo.members()
