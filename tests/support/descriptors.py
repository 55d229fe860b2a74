"""What this process has open."""

from contextlib import suppress
from pathlib import Path

import pytest

__all__ = ["open_descriptors", "open_sockets"]

OPEN = Path("/proc/self/fd")


def _targets() -> list[str]:
    if not OPEN.exists():
        pytest.skip("needs /proc")
    targets = []
    for link in OPEN.iterdir():
        with suppress(OSError):  # the one that lists the folder is closed again
            targets.append(str(link.readlink()))
    return targets


def open_descriptors() -> int:
    """How many descriptors of any kind are open."""
    return len(_targets())


def open_sockets() -> int:
    """How many sockets are open."""
    return sum(target.startswith("socket:") for target in _targets())
