"""Tells everybody who listens something: python -m examples.script.announce "We close at six"."""

import os
import sys

from fast_channels.layers.redis import RedisPubSubChannelLayer

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def main() -> None:
    with RedisPubSubChannelLayer(hosts=[REDIS_URL], prefix="board").sync as layer:
        for text in sys.argv[1:]:
            layer.group_send("everybody", {"type": "announcement", "text": text})


if __name__ == "__main__":
    main()
