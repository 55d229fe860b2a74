"""The users of the page about security, on real servers."""

import re
import shlex
from typing import Any

from tests.docs.pages import Page

__all__ = ["commands_of", "extras", "make_user", "rules_of"]

PAGE = "docs/topics/security.md"

EXTRA = re.compile(r"^\| (?P<what>[^|]+) \| (?P<commands>`\+(?:[^|]|\\\|)*) \|$", re.MULTILINE)
"""A row of the table of what needs more."""


def rules_of(user: str) -> list[str]:
    """The rules of a user, as the page gives them."""
    for block in Page(PAGE).blocks:
        words = shlex.split(block.code.replace("\\\n", ""))
        if words[:1] == ["redis-cli"] and user in words:
            return words[words.index(user) + 1 :]
    raise LookupError(f"{PAGE} has no user {user}")


def commands_of(rules: list[str]) -> set[str]:
    """The commands that rules allow."""
    return {rule.removeprefix("+") for rule in rules if rule.startswith("+")}


def extras() -> dict[str, list[str]]:
    """The table of what needs more: the rules, by what they are for."""
    return {
        row["what"].strip(): [rule.replace("\\", "") for rule in re.findall(r"\+[^\s`]+", row["commands"])]
        for row in EXTRA.finditer(Page(PAGE).text)
    }


def make_user(admin: Any, user: str, prefix: str = "shop", *more: str) -> tuple[str, str]:
    """Make a user of the page, for another prefix: its name and its password."""
    name, password = f"{user}-{prefix}", "a long password"
    rules = [rule.replace("shop|", f"{prefix}|") for rule in rules_of(user)]
    assert f">{password}" in rules
    admin.execute_command("ACL", "SETUSER", name, "reset", *rules, *more)
    return name, password
