"""The command `fast-channels`. It needs the extra: `pip install "fast-channels[cli]"`.

Exit codes: 0, it did what was asked; 1, it failed; 2, the command line asks for what cannot be, such as an option, a
module, a channel or an alias that there is not; 130, it was interrupted.
"""

import sys

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def main() -> None:
    """Run the command that the arguments of this process name, and exit."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # while the program is loaded: it catches the others
        print("fast-channels: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run() -> int:
    try:
        from fast_channels.cli.program import run
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in ("rich", "typer"):
            raise
        sys.exit('fast-channels: the command line needs an extra: pip install "fast-channels[cli]"')
    return run()
