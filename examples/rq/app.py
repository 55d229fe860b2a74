"""A WebSocket that asks for a report, and hears how far it is."""

import asyncio
from typing import Any

from fastapi import FastAPI
from redis import Redis
from rq import Queue

from examples.rq.layers import REDIS_URL, setup_channel_layers
from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers
from fast_channels.routing import add_consumer

setup_channel_layers()
queue = Queue(connection=Redis.from_url(REDIS_URL))


class ReportConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await asyncio.to_thread(queue.enqueue, "examples.rq.jobs.make_report", self.channel_name, content["pages"])

    async def report_progress(self, event: dict[str, Any]) -> None:
        await self.send_json({"page": event["page"], "of": event["of"]})


app = FastAPI(lifespan=channel_layers.lifespan)
add_consumer(app, "/ws/report", ReportConsumer)
