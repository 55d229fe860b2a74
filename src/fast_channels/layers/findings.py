"""What an examination of a layer finds: each thing that is right or wrong, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level"]


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth to know: what is promised is kept."""
    WRONG = "wrong"
    """What is promised is not kept, or will not be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    """A word: `version`, `persistence`, `permissions`, …; `connection` alone says that a server was not reached."""
    text: str
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""
    server: str = ""
    """Where, without a password; empty if it is about the layer as a whole."""
