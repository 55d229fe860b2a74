"""The program itself: help, usage, and how it is started."""

import importlib.metadata
import subprocess
import sys

import pytest

from fast_channels.cli import main
from fast_channels.cli.program import run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["unheard-of"], "No such command 'unheard-of': see fast-channels --help"),
        (["worker"], "Missing argument 'MODULE:ROUTER': see fast-channels worker --help"),
        (["worker", "a:b", "--unheard-of"], "No such option: --unheard-of"),
        (["worker", "a:b", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (["worker", "a:b", "--grace", "x"], "Invalid value for '--grace'"),
        (["dead-letters", "show", "jobs"], "Missing argument 'ID': see fast-channels dead-letters show --help"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"fast-channels: {text}")
    assert "--help" in printed.err


@pytest.mark.parametrize("arguments", [["--help"], ["worker", "--help"], ["dead-letters", "drop", "--help"]])
def test_help_is_no_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert "Usage: fast-channels" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["dead-letters"]])
def test_without_a_command_there_is_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) in (0, 2)  # versions of Typer differ
    assert "Commands" in "".join(capsys.readouterr())


def test_it_is_the_script_of_the_package() -> None:
    [script] = importlib.metadata.entry_points(group="console_scripts", name="fast-channels")
    assert script.load() is main


def test_it_is_the_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fast_channels", "unheard-of"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "fast-channels: No such command 'unheard-of': see fast-channels --help\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from fast_channels.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == 'fast-channels: the command line needs an extra: pip install "fast-channels[cli]"\n'
