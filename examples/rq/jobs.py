"""What the worker does. RQ forks for each job: the child connects by itself, under an identity of its own."""

import time

from examples.rq.layers import setup_channel_layers
from fast_channels.layers import channel_layers

setup_channel_layers()


def make_report(channel: str, pages: int) -> str:
    layer = channel_layers["default"].sync
    for page in range(1, pages + 1):
        time.sleep(0.1)  # the work
        layer.send(channel, {"type": "report.progress", "page": page, "of": pages})
    return f"{pages} pages"
