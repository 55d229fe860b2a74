"""What the library says when something is wrong: the lines of its log and the texts of its errors, as in the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.pages import ROOT

__all__ = ["GAP", "as_pattern", "log_lines", "texts_in_source", "texts_of_errors"]

PACKAGE = ROOT / "src" / "fast_channels"
LOUD = {"warning", "error", "exception", "critical", "log"}
GAP = "\0"
"""Stands for what differs from case to case."""


@cache
def log_lines() -> dict[str, str]:
    """The formats of all lines that may be logged at WARNING or above, with the file in which each stands."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_loud(node.func):
                for text in _first_text(node):
                    found[re.sub(r"%(?:\.\d+)?[a-z]", GAP, text)] = path.relative_to(PACKAGE).as_posix()
    return {text: where for text, where in found.items() if text.strip(GAP)}


def _is_loud(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in LOUD and ast.unparse(function.value) == "logger"


def _first_text(call: ast.Call) -> Iterator[str]:
    for argument in call.args[:2]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
            return


@cache
def texts_of_errors() -> list[str]:
    """The texts that the errors of the library have, with gaps for what differs."""
    return list(_texts_of(PACKAGE / "exceptions.py"))


@cache
def texts_in_source() -> list[str]:
    """All texts of several words in the source, with gaps for what differs."""
    return [text for path in sorted(PACKAGE.rglob("*.py")) for text in _texts_of(path)]


def _texts_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [
        _text(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in docstrings | parts
    ]
    yield from (text for text in texts if len(text.replace(GAP, "").split()) > 2)


def _text(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return re.sub(r"\{[^}]*\}", GAP, node.value) if isinstance(node.value, str) else ""
    return "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)


def as_pattern(text: str) -> "re.Pattern[str]":
    """What a line that has `text` looks like."""
    return re.compile(".*?".join(re.escape(part) for part in re.split(f"{GAP}+", text.strip())), re.DOTALL)
