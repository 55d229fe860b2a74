"""What is checked is checked under `python -O` as well. `make test-optimized` runs the whole suite like that."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT

PROGRAM = Path(__file__).with_name("optimized.py")


def run(*arguments: str, optimize: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONOPTIMIZE": optimize}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=ROOT, check=False)


def test_every_check_holds_without_assertions(redis_url: str) -> None:
    done = run(str(PROGRAM), redis_url, optimize="1")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_the_program_knows_how_it_is_run_and_fails_if_something_is_wrong(redis_url: str) -> None:
    done = run(str(PROGRAM), redis_url, optimize="")
    assert (done.returncode, done.stdout.strip()) == (1, "run me with python -O")


def test_the_assertions_of_tests_bite_nevertheless(tmp_path: Path) -> None:
    """Pytest makes statements of them, which `-O` leaves; so the suite says something when it passes like that."""
    (tmp_path / "test_false.py").write_text("def test_false():\n    assert __debug__\n")
    ignore = "ignore:assertions not in test modules:pytest.PytestConfigWarning"
    options = (
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        "-W",
        ignore,
        "--rootdir",
        str(tmp_path),
        "-q",
        str(tmp_path),
    )
    done = run("-m", "pytest", *options, optimize="1")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
