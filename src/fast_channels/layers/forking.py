"""What starts afresh in a forked child, while its parent goes on with what there was."""

import os
import weakref
from typing import Protocol

__all__ = ["StartsAfresh", "leave_to_parent", "start_afresh_in_children"]


class StartsAfresh(Protocol):
    """Something that a forked child must not share with its parent."""

    def _after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


_all: "weakref.WeakSet[StartsAfresh]" = weakref.WeakSet()

_of_parents: list[object] = []


def start_afresh_in_children(thing: StartsAfresh) -> None:
    """Tell `thing` in each forked child, as long as it lives."""
    _all.add(thing)


def leave_to_parent(thing: object) -> None:
    """Keep what a child inherited, so that nothing of the parent is closed when the child forgets it."""
    _of_parents.append(thing)


def _tell_in_child() -> None:
    for thing in tuple(_all):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_in_child)
