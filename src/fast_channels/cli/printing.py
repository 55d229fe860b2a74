"""What the commands print: for people, or JSON for programs."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fast_channels.layers.dead_letters import DeadLetter

__all__ = ["print_channels", "print_count", "print_letters", "show_letters"]

WIDE: Final = 100_000


def print_channels(counts: Mapping[str, int], *, as_json: bool) -> None:
    """How many dead letters each channel has."""
    if as_json:
        print(_json(dict(counts)))
    elif not counts:
        print("There are no dead letters.")
    else:
        _print_table(
            {"channel": "left", "dead letters": "right"}, [(name, str(counts[name])) for name in sorted(counts)]
        )


def print_letters(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """A line for each."""
    if as_json:
        print(_json(letters))
    elif not letters:
        print("There are no dead letters.")
    else:
        columns = {"id": "left", "died": "left", "deliveries": "right", "type": "left", "error": "left"}
        _print_table(columns, [(it.id, _time(it), str(it.deliveries), _type(it), it.error) for it in letters])


def show_letters(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """All about each."""
    if as_json:
        print(_json(letters))
        return
    for number, letter in enumerate(letters):
        facts = {
            "id": letter.id,
            "channel": letter.channel,
            "died": _time(letter),
            "reason": letter.reason,
            "deliveries": str(letter.deliveries),
            "error": letter.error,
            "message": _json(letter.message),
        }
        print(*([""] if number else []), *(f"{name:10}  {_plain(fact)}" for name, fact in facts.items()), sep="\n")


def print_count(count: int, done: str, key: str, *, as_json: bool) -> None:
    """What became of how many."""
    print(_json({key: count}) if as_json else f"{count} dead letter{'' if count == 1 else 's'} {done}.")


def _print_table(columns: Mapping[str, Any], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in columns.items():
        # what people copy stays in one piece; the last column takes the lines that it needs
        table.add_column(name, justify=justify, no_wrap=name != "error", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    # in a pipe or a file there is no width to keep to
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode()


def _plain(text: str) -> str:
    """`text` without what a terminal would obey: it comes from whoever sent the message."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _time(letter: DeadLetter) -> str:
    return f"{datetime.fromtimestamp(letter.died_at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _type(letter: DeadLetter) -> str:
    message = letter.message
    return str(message.get("type")) if isinstance(message, Mapping) else "?"
