"""What is printed on a terminal that is too narrow for it: nothing that counts is cut."""

import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from fast_channels.cli import inspect, printing
from fast_channels.cli.terminal import plain, print_table
from fast_channels.layers.dead_letters import DeadLetter


class Terminal(StringIO):
    """A terminal of so many columns as the environment says."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["dumb", "xterm"])
def terminal(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Terminal:
    """80 columns, without colours."""
    for name, value in {"COLUMNS": "80", "TERM": request.param, "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def print_on(terminal: Terminal, columns: dict[str, Any], row: tuple[str, ...], *, folded: dict[str, int]) -> list[str]:
    """The lines of a table, of which the first is bold."""
    with redirect_stdout(terminal):
        print_table(columns, [row], folded=folded)
    return re.sub(r"\x1b\[\d*m", "", terminal.getvalue()).splitlines()


COUNTS = {"waiting": "right", "delayed": "right", "oldest": "right", "held": "right", "dead": "right"}
NUMBERS = ("87", "1", "12.5 s", "3", "1234567")


def test_a_long_name_is_folded_and_the_numbers_beside_it_are_whole(terminal: Terminal) -> None:
    name = "n" * 65
    lines = print_on(terminal, {"channel": "left", **COUNTS}, (name, *NUMBERS), folded={"channel": 20})
    assert lines[0].split() == ["channel", *COUNTS]
    part, *numbers = lines[1].split()
    assert " ".join(numbers) == " ".join(NUMBERS)
    assert "".join([part, *lines[2:]]) == name
    assert max(map(len, lines)) <= 80


def test_what_is_not_folded_makes_the_table_wider_than_the_terminal(terminal: Terminal) -> None:
    ids = "i" * 70, "j" * 70
    columns = {"first": "left", "second": "left", "name": "left"}
    _, first, *rest = print_on(terminal, columns, (*ids, "n" * 50), folded={"name": 20})
    assert first == f"{ids[0]}  {ids[1]}  {'n' * 20}"
    assert [line.strip() for line in rest] == ["n" * 20, "n" * 10]


def test_a_short_name_is_not_folded_for_a_long_error(terminal: Terminal) -> None:
    columns = {"id": "left", "type": "left", "error": "left"}
    lines = print_on(terminal, columns, ("i" * 30, "mail.send", "e" * 90), folded={"type": 10, "error": 16})
    assert lines[1].startswith(f"{'i' * 30}  mail.send  eee")


def test_the_processes_of_a_group_can_be_copied(terminal: Terminal) -> None:
    found: dict[str, Any] = {
        "channels": {},
        "groups": {"g" * 65: [f"inbox {number}{'0' * 31}" for number in range(3)]},
        "inboxes": {},
    }
    with redirect_stdout(terminal):
        inspect.print_queue(found)
    printed = terminal.getvalue()
    assert all(f" {number}{'0' * 31}" in printed for number in range(3))
    assert max(map(len, printed.splitlines()[3:])) <= 80


def test_the_id_of_a_dead_letter_can_be_copied(terminal: Terminal) -> None:
    letter = DeadLetter("jobs", "1700000000000123", {"type": "t" * 60}, "max_deliveries", 5, "e" * 300, 1_700_000_000.5)
    with redirect_stdout(terminal):
        printing.print_letters([letter], as_json=False)
    printed = terminal.getvalue()
    id, _, _, deliveries, *_ = printed.splitlines()[1].split()
    assert (id, deliveries) == (letter.id, "5")
    assert max(map(len, printed.splitlines()[1:])) <= 80
    assert printed.count("t") >= 60
    assert printed.count("e") >= 300


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1b[2J", "a\x85b", "a\u2028b", "\udc80", "a\tb"])
def test_a_text_of_others_is_one_line(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1


def test_a_name_of_two_lines_is_one_row(terminal: Terminal) -> None:
    lines = print_on(terminal, {"channel": "left"}, ("a\nb",), folded={"channel": 20})
    assert lines == ["channel", r"a\nb"]
