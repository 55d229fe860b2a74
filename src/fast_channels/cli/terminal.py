"""How things are printed: tables as wide as the terminal, lines that are lines where no terminal is, JSON."""

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["console", "json_line", "json_text", "plain", "print_table", "show"]

WIDE: Final = 100_000


def console(file: IO[str] | None = None) -> Console:
    """Where commands print. In a pipe or a file there is no width to keep to."""
    stream = file or sys.stdout
    is_terminal = stream is not None and stream.isatty()
    return Console(file=stream, width=None if is_terminal else WIDE, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Mapping[str, Any], rows: Sequence[tuple[str, ...]], folded: str = "", title: str | None = None
) -> None:
    """A table without lines; `columns` are names with `left` or `right`. The one named `folded` takes more lines where
    the width is short; what people copy stays in one piece.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in columns.items():
        table.add_column(name, justify=justify, no_wrap=name != folded, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    if title is not None:
        console().print(Text(title, "bold"), soft_wrap=True)
    show(table)


def show(table: Table) -> None:
    """Print a table, without blanks at the ends of its lines."""
    out = console()
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
    """`text` without what a terminal would obey: it comes from whoever sent the message."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)
