"""Places that are kept filled."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest

from sandbox import control
from sandbox.processes import Child, ChildFailed, Family, first_of
from sandbox.supervisor import Supervisor

WAIT = "import time; time.sleep(60)"


@pytest.fixture
async def family() -> AsyncIterator[Family]:
    async with Family() as family:
        yield family


async def test_a_process_that_is_named_is_killed_and_replaced_and_no_other(
    family: Family, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with control.commands() as (descriptor, commands):
        supervisor = Supervisor(family, commands)
        first, second = [await supervisor.fill(name, lambda: start(family, WAIT)) for name in ("first", "second")]
        before = first.pid, second.pid
        monkeypatch.setenv(control.FD, str(descriptor))
        running = asyncio.create_task(supervisor.run())
        control.ask_to_kill(str(os.getpid()))  # nobody's name
        control.ask_to_kill("first")
        while first.pid == before[0]:
            await asyncio.sleep(0.01)
        assert second.pid == before[1]
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    assert "first (pid" in capsys.readouterr().err


async def test_a_process_that_ends_by_itself_again_and_again_is_given_up(family: Family) -> None:
    starts: list[Child] = []

    async def start_one() -> Child:
        starts.append(await start(family, "raise SystemExit(3)"))
        return starts[-1]

    supervisor = Supervisor(family, asyncio.StreamReader())
    await supervisor.fill("hasty", start_one)
    with pytest.raises(ChildFailed, match="ended with code 3"):
        await supervisor.run()
    assert len(starts) == 3


async def start(family: Family, code: str) -> Child:
    return await family.start("child", sys.executable, "-c", code, needed=False)


async def test_the_result_of_work_is_that_of_the_first() -> None:
    assert await first_of(asyncio.sleep(0, "done"), asyncio.sleep(30)) == "done"


async def test_an_error_of_another_ends_the_work() -> None:
    async def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await first_of(asyncio.sleep(30), fail())
