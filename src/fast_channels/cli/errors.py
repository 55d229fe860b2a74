"""What ends a command: one line on stderr, which says what to do next, and an exit code."""

from typing import Final

from fast_channels.exceptions import ChannelFull, FastChannelsError, ServerRefused

__all__ = ["CommandError", "UsageError", "next_step"]

REFUSALS: Final = {
    "WRONGPASS": "; check the user and the password in its URL",
    "NOAUTH": "; put a user and a password into its URL",
    "NOPERM": "; fast-channels doctor says which permissions the user lacks",
}
"""What a refusal begins with, and what to do about it."""


class CommandError(Exception):
    """The command failed. The text is the line that is printed."""

    exit_code = 1


class UsageError(CommandError):
    """The command line asks for what cannot be."""

    exit_code = 2


def next_step(error: FastChannelsError) -> str:
    """What to do about an error that does not say so itself, to be appended to its text."""
    if isinstance(error, ChannelFull):
        return "; its receivers do not keep up: see fast-channels inspect"
    if not isinstance(error, ServerRefused):
        return ""
    steps = (step for begin, step in REFUSALS.items() if error.answer.startswith(begin))
    return next(steps, "; fast-channels doctor says more about the server")
