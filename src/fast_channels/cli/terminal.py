"""How things are printed: tables as wide as the terminal, lines that are lines where no terminal is, JSON."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

import msgspec
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

__all__ = ["console", "json_line", "json_text", "plain", "print_table", "show"]

WIDE: Final = 100_000

BLANK_END: Final = re.compile(r" +(?=(?: |\x1b\[[\d;]*m)*$)")
"""Blanks at the end of a line, after which only the end of a style follows: a terminal may have no room for them."""

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
    folded: Mapping[str, int] | None = None,
    title: str | None = None,
) -> None:
    """A table without lines; `columns` are names with `left` or `right`. Those in `folded` take more lines where the
    terminal is too narrow, and have the width given there at least. Nothing else is shortened: a number that is cut is
    another number, and what people copy stays in one piece.
    """
    least = folded or {}
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold")
    cells = [tuple(map(plain, row)) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    widths = _fitting(widths, [least.get(name) for name in columns], console().width)
    for (name, justify), width in zip(columns.items(), widths, strict=True):
        table.add_column(name, justify=justify, no_wrap=name not in least, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    if title is not None:
        console().print(Text(title, "bold"), soft_wrap=True)
    show(table, sum(widths) + GAP * len(widths))


def _fitting(widths: Sequence[int], least: Sequence[int | None], room: int) -> list[int]:
    """Widths of columns that are shortened as far as they may, the widest ones first, until they are in the room."""
    fitting = list(widths)
    excess = sum(widths) + GAP * (len(widths) - 1) - room
    for _ in range(excess):
        more = [(width, place) for place, width in enumerate(fitting) if width > (least[place] or width)]
        if not more:
            break
        fitting[max(more)[1]] -= 1
    return fitting


def show(table: Table, at_least: int = 0) -> None:
    """Print a table, without blanks at the ends of its lines."""
    out = console(at_least=at_least)
    with out.capture() as captured:
        out.print(table)
    print(*(BLANK_END.sub("", line.rstrip()) for line in captured.get().splitlines()), sep="\n")


def json_text(value: Any) -> str:
    """`value` as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode()


def json_line(value: Any) -> str:
    """`value` as JSON on one line."""
    return msgspec.json.encode(value, enc_hook=repr).decode()


def plain(text: str) -> str:
    """`text` on one line, and without what a terminal would obey: it comes from whoever sent the message."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
