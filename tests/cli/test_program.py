"""The program itself: help, usage, and how it is started."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from fast_channels import __version__
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
        (["send", "jobs"], "Missing argument 'MESSAGE': see fast-channels send --help"),
        (["listen", "jobs", "--count", "0"], "Invalid value for '--count'"),
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


COMMANDS = ["send", "group-send", "listen", "inspect", "doctor", "bench"]
HELP = [["--help"], ["worker", "--help"], ["dead-letters", "drop", "--help"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_exit_codes_mean(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "Exit codes:" in printed
    assert all(f"{code}: " in printed for code in (0, 1, 2))


@pytest.mark.parametrize("arguments", HELP)
def test_help_is_no_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert "Usage: fast-channels" in capsys.readouterr().out


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr() == (f"fast-channels {__version__}\n", "")


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


MEMORY = "from fast_channels.layers import *\nregister_channel_layer('default', InMemoryChannelLayer())\n"


@pytest.mark.parametrize(("redirection", "code"), [("| true", 1), (">&-", 0)], ids=["a pipe that is gone", "none"])
def test_nobody_may_want_to_read_what_it_prints(tmp_path: Path, redirection: str, code: int) -> None:
    (tmp_path / "layers.py").write_text(MEMORY)
    script = f'(sleep 0.5; "$0" -m fast_channels doctor --layers layers; echo $? >&2) {redirection}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("", f"{code}\n")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from fast_channels.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == 'fast-channels: the command line needs an extra: pip install "fast-channels[cli]"\n'


INTERRUPTED_BY_IMPORT = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
{start}
"""

SCRIPT = "from fast_channels.cli import main; main()"
MODULE = "runpy.run_module('fast_channels', run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize(
    ("start", "name"),
    [(SCRIPT, "typer"), (SCRIPT, "fast_channels.cli.program"), (MODULE, "typer"), (MODULE, "fast_channels.cli")],
)
def test_ctrl_c_while_the_program_is_loaded(start: str, name: str) -> None:
    code = INTERRUPTED_BY_IMPORT.format(start=start, name=name)
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fast-channels: interrupted\n")


def test_an_error_obeys_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["listen", "room", "--group", "--layers", "\x1b[2J"]) == 2
    assert "\\x1b[2J" in capsys.readouterr().err
