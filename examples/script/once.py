"""Says something now and then, with a loop for each time.

`python -m examples.script.once`
"""

import asyncio
import os

from asgiref.sync import async_to_sync

from fast_channels.layers.redis import RedisPubSubChannelLayer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def main() -> None:
    layer = RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="board")
    asyncio.run(layer.group_send("everybody", {"type": "announcement", "text": "Tea is ready"}))
    async_to_sync(layer.group_send)("everybody", {"type": "announcement", "text": "Tea is cold"})


if __name__ == "__main__":
    main()
