"""Who this process is in the demo: the name that its supervisor gave it, and the names that its demo uses."""

import os
import time
from typing import Any

__all__ = ["JOBS", "LINES", "NAME", "PORT", "identity", "uptime"]

NAME = os.getenv("SANDBOX_NAME", "server")
"""`server 1`, `worker 2`, …"""

PORT = int(os.getenv("SANDBOX_PORT", "0"))
"""Where this process listens, if it is a server of the demo."""

DEMO = os.getenv("SANDBOX_ID", "demo")
"""Tells apart demos that share a Redis server: the workers of one know nothing of the jobs of another."""

JOBS = f"jobs.{DEMO}"
"""The shared channel, on the layer "queue", from which workers take jobs."""

LINES = f"lines.{DEMO}"
"""The shared channel, on the layer "queue", from which workers take lines to keep."""

_STARTED = time.monotonic()


def uptime() -> float:
    """Seconds for which this process has run."""
    return round(time.monotonic() - _STARTED, 1)


def identity() -> dict[str, Any]:
    """What pages and reports say about this process."""
    return {"process": NAME, "pid": os.getpid(), "port": PORT, "up": uptime()}
