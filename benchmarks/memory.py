"""How much this process grows with each idle connection. Runs in every environment: standard library only."""

import gc
import os
from pathlib import Path
from typing import Any

from benchmarks.sockets import Application, IdleSocket, open_sockets

__all__ = ["memory_result"]

_WARM_UP = 200
_AT_ONCE = 50


def resident_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def memory_result(application: Application, count: int) -> tuple[dict[str, Any], list[IdleSocket]]:
    """Bytes for each of `count` connections that were opened after some that warmed up; and all the connections."""
    warm = await open_sockets(application, _WARM_UP, _AT_ONCE)
    gc.collect()
    before = resident_bytes()
    sockets = await open_sockets(application, count, _AT_ONCE)
    gc.collect()
    grown = resident_bytes() - before
    return {"bytes_per_connection": grown / count, "count": count}, warm + sockets
