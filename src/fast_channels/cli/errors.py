"""What ends a command: one line on stderr, which says what to do next, and an exit code."""

__all__ = ["CommandError", "UsageError"]


class CommandError(Exception):
    """The command failed. The text is the line that is printed."""

    exit_code = 1


class UsageError(CommandError):
    """The command line asks for what cannot be."""

    exit_code = 2
