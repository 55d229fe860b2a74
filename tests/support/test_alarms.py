"""A test that takes too long fails, whatever loop it waits in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENDLESS = """
import asyncio

import uvloop

async def wait():
    await asyncio.Event().wait()

def test_endless():
    with asyncio.Runner(loop_factory={}.new_event_loop) as runner:
        runner.run(wait())
"""


def run(folder: Path, loop: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """pytest on a test of its own, with a second to do it; what hangs on is ended after four."""
    (folder / "test_endless.py").write_text(ENDLESS.format(loop))
    (folder / "pytest.ini").write_text(
        "[pytest]\ntimeout = 1\nfaulthandler_timeout = 4\nfaulthandler_exit_on_timeout = true\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "pytest_timeout", "-p", "no:cacheprovider", *options, str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PYTHONOPTIMIZE": ""}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_fails_with_the_reason(tmp_path: Path, loop: str) -> None:
    done = run(tmp_path, loop, "-p", "tests.support.alarms")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Timeout (>1.0s)" in done.stdout


def test_twin_uvloop_alone_waits_for_ever_and_the_process_ends(tmp_path: Path) -> None:
    done = run(tmp_path, "uvloop")
    assert "1 failed" not in done.stdout
    assert "Timeout (0:00:04)!" in done.stderr
