"""What the worker does. In each process of its pool, the layer connects by itself, and stays connected."""

import time

from celery import Celery

from examples.celery.layers import REDIS_URL, setup_channel_layers
from fast_channels.layers import channel_layers

setup_channel_layers()
celery = Celery("reports", broker=REDIS_URL)


@celery.task
def make_report(channel: str, pages: int) -> None:
    layer = channel_layers["default"].sync
    for page in range(1, pages + 1):
        time.sleep(0.1)  # the work
        layer.send(channel, {"type": "report.progress", "page": page, "of": pages})
