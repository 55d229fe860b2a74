"""Children that end with their parent."""

import asyncio
import os
import signal
import sys

import pytest

from sandbox.processes import ChildFailed, Family

WAIT = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def never() -> str:
    await asyncio.sleep(0)
    return "not up"


async def test_every_child_is_gone_when_the_block_is_left() -> None:
    async with Family() as family:
        pids = [(await family.start("child", sys.executable, "-c", WAIT)).pid for _ in range(3)]
        assert all(map(lives, pids))
    assert not any(map(lives, pids))


async def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.processes.GRACE", 0.3)
    async with Family() as family:
        child = await family.start("child", sys.executable, "-c", STUBBORN)
        while "up" not in child.lines:
            await asyncio.sleep(0.01)
    assert child.process.returncode == -signal.SIGKILL


async def test_an_error_in_the_block_ends_the_children() -> None:
    pids = []

    async def fail() -> None:
        async with Family() as family:
            pids.append((await family.start("child", sys.executable, "-c", WAIT)).pid)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await fail()
    assert not lives(*pids)


async def test_a_child_that_ends_while_it_is_needed_is_an_error_with_its_last_words() -> None:
    async with Family() as family:
        await family.start("poet", sys.executable, "-c", "print('alas'); raise SystemExit(3)", quiet=True)
        with pytest.raises(ChildFailed, match=r"(?s)poet \(pid \d+\) ended with code 3.*alas"):
            await family.during(asyncio.sleep(30))


async def test_work_that_ends_first_gives_its_result() -> None:
    async with Family() as family:
        assert await family.during(asyncio.sleep(0, "done")) == "done"


async def test_a_child_that_ends_before_it_is_ready_is_an_error() -> None:
    async with Family() as family:
        child = await family.start("hasty", sys.executable, "-c", "raise SystemExit(4)")
        with pytest.raises(ChildFailed, match=r"hasty .* ended with code 4"):
            await family.ready(child, never)


async def test_a_child_that_is_not_ready_in_time_is_an_error_with_the_complaint() -> None:
    async with Family() as family:
        child = await family.start("slow", sys.executable, "-c", WAIT)
        with pytest.raises(ChildFailed, match=r"slow .* was not ready after 0\.1 s: not up"):
            await family.ready(child, never, seconds=0.1)


async def test_what_a_child_writes_is_printed_under_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    async with Family() as family:
        await (await family.start("bird", sys.executable, "-c", "print('tweet')")).process.wait()
    assert "bird | tweet" in capfd.readouterr().err


async def test_a_guard_that_ends_is_missed() -> None:
    async with Family() as family:
        child = await family.start("child", sys.executable, "-c", WAIT)
        os.kill(os.getpgid(child.pid), signal.SIGKILL)  # the guard leads the group
        with pytest.raises(ChildFailed, match=r"guard .* ended with code -9"):
            await family.during(asyncio.sleep(30))
