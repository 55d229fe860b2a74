"""What stands on a server may have been written by anybody: reading it without falling over it."""

from fast_channels import names
from fast_channels.exceptions import InvalidNameError

__all__ = ["is_plain", "number", "on_one_line", "shown"]

LONGEST = 120
"""Characters that are shown of what somebody else wrote."""


def shown(data: bytes) -> str:
    """`data` on one short line, for people to read."""
    text = on_one_line(data[: LONGEST + 1].decode("ascii", errors="backslashreplace"))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def on_one_line(text: str) -> str:
    """`text` with an escape in the place of each character that cannot be printed, or encoded."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def number(data: bytes | None) -> int:
    """The whole number that `data` says, or 0."""
    if data is None or len(data) > 20 or not data.removeprefix(b"-").isdigit():
        return 0
    return int(data)


def is_plain(name: str) -> bool:
    """Whether `name` can be that of a client, a group, or a shared channel."""
    try:
        names.check_group_name(name)
    except InvalidNameError:
        return False
    return True
