"""How things are printed: tables as wide as the terminal, lines that are lines where no terminal is, JSON."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import IO, Any, Final

import msgspec
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

__all__ = ["console", "json_line", "json_text", "plain", "print_table", "show"]

WIDE: Final = 100_000

FOLDED: Final = 20
"""A column that may be folded keeps this width, and what is in it can be read."""

GAP: Final = 2
"""Blanks between two columns."""


def console(file: IO[str] | None = None, *, at_least: int = 0) -> Console:
    """Where commands print. In a pipe or a file there is no width to keep to; a terminal may be less wide than
    `at_least`, and continues a line on the next one then.
    """
    stream = file or sys.stdout
    is_terminal = stream is not None and stream.isatty()
    out = Console(file=stream, width=None if is_terminal else WIDE, highlight=False, markup=False, emoji=False)
    out.size = ConsoleDimensions(max(out.width, at_least), out.height)
    return out


def print_table(
    columns: Mapping[str, Any],
    rows: Sequence[tuple[str, ...]],
    folded: Collection[str] = (),
    title: str | None = None,
) -> None:
    """A table without lines; `columns` are names with `left` or `right`. Those named in `folded` take more lines where
    the terminal is too narrow. Nothing else is: a number that is cut is another number, and what people copy stays in
    one piece.
    """
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    cells = [tuple(map(plain, row)) for row in rows]
    needed = 0
    for place, (name, justify) in enumerate(columns.items()):
        table.add_column(name, justify=justify, no_wrap=name not in folded, overflow="fold")
        width = max(map(cell_len, (name, *(row[place] for row in cells))))
        needed += GAP + (min(width, FOLDED) if name in folded else width)
    for row in cells:
        table.add_row(*map(Text, row))
    if title is not None:
        console().print(Text(title, "bold"), soft_wrap=True)
    show(table, needed - GAP)


def show(table: Table, at_least: int = 0) -> None:
    """Print a table, without blanks at the ends of its lines."""
    out = console(at_least=at_least)
    with out.capture() as captured:
        out.print(table)
    print(*(line.rstrip() for line in captured.get().splitlines()), sep="\n")


def json_text(value: Any) -> str:
    """`value` as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode()


def json_line(value: Any) -> str:
    """`value` as JSON on one line."""
    return msgspec.json.encode(value, enc_hook=repr).decode()


def plain(text: str) -> str:
    """`text` on one line, and without what a terminal would obey: it comes from whoever sent the message."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
