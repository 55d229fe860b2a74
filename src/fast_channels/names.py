"""The grammar of channel and group names, and which part of a name says who owns it.

A *plain* channel name (`jobs`) is shared by every process. A *specific* one (`specific.<client>!<id>`) belongs to one
process and event loop: everything before the `!` is its address, what follows is local to the owner.
"""

import re
from functools import lru_cache

from fast_channels.exceptions import InvalidNameError

__all__ = [
    "MAX_NAME_LENGTH",
    "check_channel_name",
    "check_group_name",
    "check_prefix",
    "client_of",
    "invalid_name_error",
    "is_specific",
    "non_local_name",
    "specific_name",
]

MAX_NAME_LENGTH = 100
"""A name is shorter than this, in characters."""

invalid_name_error = (
    "{} name must be a valid unicode string with length < 100 containing only ASCII "
    "alphanumerics, hyphens, underscores, or periods."
)
"""What `InvalidNameError` says; the gap is for `Channel` or `Group`."""

channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+(?:![a-zA-Z0-9\-_.]*)?", re.ASCII)
group_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+", re.ASCII)


# Only short names are remembered: long ones come from outside, and would fill the memory.


@lru_cache(maxsize=8192)
def _is_channel_name(name: str) -> bool:
    return channel_name_regex.fullmatch(name) is not None


@lru_cache(maxsize=8192)
def _is_group_name(name: str) -> bool:
    return group_name_regex.fullmatch(name) is not None


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:117]}..."


def check_channel_name(name: object) -> None:
    """Raise `InvalidNameError` unless `name` is the name of a channel, plain or specific."""
    if not isinstance(name, str) or len(name) >= MAX_NAME_LENGTH or not _is_channel_name(name):
        raise InvalidNameError(f"{invalid_name_error.format('Channel')} Got {_shown(name)}.")


def check_group_name(name: object) -> None:
    """Raise `InvalidNameError` unless `name` is the name of a group."""
    if not isinstance(name, str) or len(name) >= MAX_NAME_LENGTH or not _is_group_name(name):
        raise InvalidNameError(f"{invalid_name_error.format('Group')} Got {_shown(name)}.")


def check_prefix(prefix: object) -> None:
    """Raise ValueError unless `prefix` can begin a layer's keys: no braces (a Cluster hashes what they enclose), no
    `|`.

    `|` ends the prefix in every key, so that a layer named `asgi` never reaches the keys of `asgi2`.
    """
    if not isinstance(prefix, str) or not prefix or not prefix.isprintable() or not prefix.isascii():
        raise ValueError(f"prefix must be a printable, non-empty ASCII string, not {_shown(prefix)}")
    if any(character in prefix for character in "{}|"):
        raise ValueError(f"prefix must not contain '{{', '}}' or '|': {_shown(prefix)}")


def is_specific(name: str) -> bool:
    """Whether one process owns the channel `name`."""
    return "!" in name


def non_local_name(name: str) -> str:
    """The part of `name` up to and including the `!`; a plain name is returned as it is."""
    head, bang, _ = name.partition("!")
    return head + bang


def specific_name(prefix: str, client: str, local: str) -> str:
    """The name of a channel that `client` owns: `<prefix>.<client>!<local>`."""
    return f"{prefix}.{client}!{local}"


def client_of(name: str) -> str:
    """The client that owns the specific channel `name`: what stands between the last period and the `!`."""
    return name.partition("!")[0].rpartition(".")[2]
