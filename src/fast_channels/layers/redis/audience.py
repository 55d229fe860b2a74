"""Who gets a message to groups, as it is written before the message where that takes more than the name of a group."""

from typing import NamedTuple, Self

__all__ = ["Audience"]


class Audience(NamedTuple):
    """The members of the groups, each once, but those of the channels that are excluded."""

    groups: tuple[str, ...]
    excluded: frozenset[str] = frozenset()

    @property
    def is_one_group(self) -> bool:
        """Whether the name of a group says it all."""
        return len(self.groups) == 1 and not self.excluded

    def packed(self) -> str:
        """As it is written: no name has a comma or a bar in it."""
        return f"{','.join(self.groups)}|{','.join(sorted(self.excluded))}"

    @classmethod
    def unpacked(cls, text: str) -> Self:
        """What `packed` wrote; of anything else, groups and channels that nobody is in, or a ValueError."""
        groups, bar, excluded = text.partition("|")
        if not bar:
            raise ValueError("no audience")
        return cls(tuple(dict.fromkeys(groups.split(","))), frozenset(excluded.split(",") if excluded else ()))
