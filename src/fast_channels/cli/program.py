"""The program: its commands, and what becomes of errors."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import typer

from fast_channels.cli import dead_letters, worker
from fast_channels.cli.errors import CommandError
from fast_channels.exceptions import FastChannelsError

__all__ = ["run"]

NAME: Final = "fast-channels"
INTERRUPTED: Final = 130

# Typer has its own copy of click in newer versions: the class is found through one that Typer offers.
BadUsage: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("worker")(worker.worker)
app.add_typer(dead_letters.app, name="dead-letters")


@app.callback()
def _program() -> None:
    """Workers that take messages from shared channels, and the messages that failed there.

    Exit codes: 0, done; 1, failed; 2, the command line asks for what cannot be.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default that of this process, and return its exit code. Errors are on stderr by then."""
    try:
        result = app(args=None if arguments is None else list(arguments), prog_name=NAME, standalone_mode=False)
    except BadUsage as error:
        return _usage(error)
    except CommandError as error:
        return _complain(str(error), error.exit_code)
    except FastChannelsError as error:
        return _complain(str(error), CommandError.exit_code)
    except (typer.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `fast-channels dead-letters list jobs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandError.exit_code
    return result if isinstance(result, int) else 0


def _usage(error: Any) -> int:
    """What the command line did not make sense of."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 2
    path = error.ctx.command_path if error.ctx is not None else NAME
    return _complain(f"{error.format_message().rstrip('.')}: see {path} --help", 2)


def _complain(text: str, exit_code: int) -> int:
    print(f"{NAME}: {' '.join(text.split())}", file=sys.stderr)
    return exit_code
