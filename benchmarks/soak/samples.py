"""What a soak looks at: memory and descriptors of a web server, memory and clients of its Valkey."""

import os
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from benchmarks.soak.verdict import Limit

__all__ = ["LIMITS", "MEGABYTE", "REMEMBERED", "limit_of", "sample"]

MEGABYTE: Final = 1e6

LIMITS: Final = {
    "server memory": Limit(1 * MEGABYTE, 0.03),
    "server descriptors": Limit(5),
    "Valkey memory": Limit(1 * MEGABYTE, 0.03),
    "Valkey keys": Limit(5),
    "Valkey clients": Limit(3),
}
"""What each may grow by after the warm-up. Without limits, only whatever is exactly flat would do."""

REMEMBERED: Final = 10_000
"""Names of channels that the layers remember at most, though they are gone: each visit has a new one."""

NAME: Final = 1000
"""Bytes that a remembered name takes, or fewer."""


def limit_of(name: str, visits: int) -> Limit:
    """What it may grow by after so many visits: more in the beginning, while what is remembered fills up."""
    limit = LIMITS[name]
    if name != "server memory":
        return limit
    return Limit(limit.amount + NAME * max(0, REMEMBERED - visits), limit.part)


async def sample(pid: int, admin: "Redis") -> dict[str, float]:
    """Each of them, now."""
    memory: dict[str, Any] = await admin.info("memory")
    clients: dict[str, Any] = await admin.info("clients")
    return {
        "server memory": resident(pid),
        "server descriptors": descriptors(pid),
        "Valkey memory": memory["used_memory"],
        "Valkey keys": await admin.dbsize(),
        "Valkey clients": clients["connected_clients"],
    }


def resident(pid: int) -> int:
    """The bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
