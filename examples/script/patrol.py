"""Looks into all rooms at once, a thread for each.

`python -m examples.script.patrol cellar attic`
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.sync import SyncLayer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def look_into(layer: SyncLayer, room: str) -> None:
    layer.group_send("everybody", {"type": "announcement", "text": f"All is well in the {room}"})


def main() -> None:
    layer = RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="board")
    with layer.sync as sync, ThreadPoolExecutor() as threads:
        list(threads.map(partial(look_into, sync), sys.argv[1:]))


if __name__ == "__main__":
    main()
