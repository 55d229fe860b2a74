"""The layer with one protection taken out of a script: what a twin runs on where it can be that exact."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import pytest

from fast_channels.layers.redis import scripts

__all__ = ["WEAKNESSES", "weaken"]


class Weakness(NamedTuple):
    """Lines of a script of the layer, and what stands there instead."""

    script: scripts.Script
    protection: str
    instead: str


WEAKNESSES: dict[str, list[Weakness]] = {
    "a batch that comes again is stored again": [
        Weakness(scripts.PUSH, "if seen then", "if false then"),
        Weakness(scripts.APPEND, "if seen then", "if false then"),
    ],
    "a request that comes again gets something else": [
        Weakness(scripts.TAKE, "if request == ARGV[2] then", "if false then")
    ],
    "who asks first robs all whose lease is over": [
        Weakness(scripts.KEEP, "if now - run >= tonumber(ARGV[2]) then", "if true then")
    ],
    "anybody may acknowledge": [
        Weakness(scripts.ACKNOWLEDGE, "if redis.call('HGET', KEYS[3], ARGV[at]) == ARGV[1] then", "if true then")
    ],
    "anybody may give back": [Weakness(scripts.GIVE_BACK, "if holder ~= ARGV[1] then", "if false then")],
    "nobody is buried": [Weakness(scripts.BURY, "if not meta[1] or", "if true or")],
}


def weaken(names: Iterable[str], patch: pytest.MonkeyPatch) -> None:
    """Take protections out, until `patch` puts them back."""
    for name in names:
        for script, protection, instead in WEAKNESSES[name]:
            text = script._text
            assert text.count(protection.encode()) == 1, f"{script} has no {protection!r}: the twin needs another way"
            weak = text.replace(protection.encode(), instead.encode())
            patch.setattr(script, "_text", weak)
            patch.setattr(script, "_sha", hashlib.sha1(weak, usedforsecurity=False).hexdigest().encode())
