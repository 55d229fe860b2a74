"""What a sender may say to whom: checked here, for every layer."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from fast_channels import names
from fast_channels.exceptions import InvalidMessageError, InvalidNameError

__all__ = ["check_expiry", "excluded_channels", "groups_of", "pairs_of"]


def check_expiry(expiry: object) -> None:
    """Raise TypeError or ValueError unless `expiry` is a number of seconds above 0, or None."""
    if expiry is None:
        return
    if not isinstance(expiry, int | float) or isinstance(expiry, bool):
        raise TypeError(f"expiry is a number of seconds, not {type(expiry).__name__}")
    if not expiry > 0:
        raise ValueError(f"expiry must be more than 0 seconds, not {expiry!r}")


def groups_of(group: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the groups, each once, in their order.

    Raises:
        InvalidNameError: one of them is no group's name.
    """
    if isinstance(group, str) or not isinstance(group, Sequence):
        names.check_group_name(group)
        return (group,)
    for name in group:
        names.check_group_name(name)
    return tuple(dict.fromkeys(group))


def excluded_channels(exclude: Collection[str]) -> frozenset[str]:
    """The names of the channels.

    Raises:
        InvalidNameError: one of them is no channel's name, or there is no collection around a name.
    """
    if not exclude:
        return frozenset()
    if isinstance(exclude, str):
        raise InvalidNameError(f"exclude is a collection of channel names: [{exclude!r}], not {exclude!r}")
    channels = tuple(exclude)
    for channel in channels:
        names.check_channel_name(channel)
    return frozenset(channels)


def pairs_of(messages: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The channels with their messages.

    Raises:
        InvalidMessageError: that is no pair.
    """
    for pair in messages:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InvalidMessageError(f"send_many takes pairs of a channel and a message, not {_shown(pair)}")
        yield pair[0], pair[1]


def _shown(what: object) -> str:
    text = repr(what)
    return text if len(text) <= 120 else f"{text[:117]}..."
