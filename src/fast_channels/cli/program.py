"""The program: its commands, and what becomes of errors."""

import asyncio
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from fast_channels import __version__
from fast_channels.cli import INTERRUPTED, bench, dead_letters, doctor, inspect, listen, send, worker
from fast_channels.cli.errors import CommandError, next_step
from fast_channels.cli.loading import describe
from fast_channels.cli.terminal import plain
from fast_channels.exceptions import FastChannelsError

__all__ = ["run"]

NAME: Final = "fast-channels"

TRACEBACK: Final = "FAST_CHANNELS_TRACEBACK"
"""The environment variable with which an error that nobody expected, or that the user's code raised, is shown whole."""

# Typer has its own copy of click in newer versions: the class is found through one that Typer offers.
BadUsage: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("worker")(worker.worker)
app.command("send")(send.send)
app.command("group-send")(send.group_send)
app.command("listen")(listen.listen)
app.command("inspect")(inspect.inspect)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.add_typer(dead_letters.app, name="dead-letters")


def _say_version(wanted: bool) -> None:
    if wanted:
        print(NAME, __version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[  # what it asks for is done by then
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Look at channel layers, use them, and run workers.

    The layers are those of the application (--layers MODULE:FUNCTION), or one on a server (REDIS_URL).

    Exit codes:

    - 0: done
    - 1: failed
    - 2: the command line asks for what cannot be
    - 130: interrupted
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default that of this process, and return its exit code. Errors are on stderr by then."""
    _print_anything()
    try:
        result = app(args=None if arguments is None else list(arguments), prog_name=NAME, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is an error here, and not when Python ends
    except BadUsage as error:
        return _usage(error)
    except CommandError as error:
        return _fail(error)
    except FastChannelsError as error:
        return _complain(f"{error}{next_step(error)}", CommandError.exit_code)
    except (typer.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `fast-channels dead-letters list jobs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandError.exit_code
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        return _complain(f"{describe(error)}: {TRACEBACK}=1 shows where it comes from", CommandError.exit_code)
    if result == INTERRUPTED:  # some versions of Typer make this of Ctrl-C
        return _complain("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _fail(error: CommandError) -> int:
    if os.environ.get(TRACEBACK) and error.__cause__ is not None:
        traceback.print_exception(error.__cause__)
    return _complain(str(error), error.exit_code)


def _print_anything() -> None:
    """Messages hold any character, and the encoding of a terminal may not have it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage(error: Any) -> int:
    """What the command line did not make sense of."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 2
    path = error.ctx.command_path if error.ctx is not None else NAME
    return _complain(f"{error.format_message().rstrip('.')}: see {path} --help", 2)


def _complain(text: str, exit_code: int) -> int:
    print(f"{NAME}: {plain(' '.join(text.split()))}", file=sys.stderr)
    return exit_code
