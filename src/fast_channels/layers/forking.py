"""What starts afresh in a forked child, while its parent goes on with what there was."""

import os
import weakref
from contextlib import suppress
from typing import Protocol

__all__ = ["StartsAfresh", "forks", "leave_descriptor_to_parent", "leave_to_parent", "start_afresh_in_children"]


class StartsAfresh(Protocol):
    """Something that a forked child must not share with its parent."""

    def _after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


_all: "weakref.WeakSet[StartsAfresh]" = weakref.WeakSet()

_of_parents: list[object] = []

_moments = 0
"""Beginnings and ends of forks, in the parent."""


def start_afresh_in_children(thing: StartsAfresh) -> None:
    """Tell `thing` in each forked child, as long as it lives."""
    _all.add(thing)


def leave_to_parent(thing: object) -> None:
    """Keep what a child inherited, so that nothing of the parent is closed when the child forgets it."""
    _of_parents.append(thing)


def leave_descriptor_to_parent(number: int) -> None:
    """In a child: let go of an inherited descriptor. What is behind it stays open in the parent, and only there.

    Its number stays taken: inherited objects that do not know about this (a socket, the transport of an event loop) may
    close it later, or take it out of an epoll that the child shares with its parent. Neither must hit anything else.
    """
    with suppress(OSError):
        os.close(number)  # first, so that it works where no more descriptors may be opened
        placeholder = os.open(os.devnull, os.O_RDWR)
        if placeholder != number:
            os.dup2(placeholder, number, inheritable=False)
            os.close(placeholder)


def forks() -> int:
    """A number that is another one later if this process forked meanwhile."""
    return _moments


def _count() -> None:
    global _moments
    _moments += 1


def _tell_in_child() -> None:
    for thing in tuple(_all):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count, after_in_parent=_count, after_in_child=_tell_in_child)
