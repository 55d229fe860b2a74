"""What the load's driver tells an application, by environment variables."""

import os

__all__ = ["LAYER", "REDIS_URL", "ROOM"]

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379")
LAYER = os.environ.get("BENCH_LAYER", "pubsub")
ROOM = "BENCH"
"""Where a room's name begins in the layers' names. Upper case, because Litestar makes its channels' names so."""
