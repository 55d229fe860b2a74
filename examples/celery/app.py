"""A WebSocket that asks for a report, and hears how far it is."""

import asyncio
from typing import Any

from fastapi import FastAPI

from examples.celery.layers import setup_channel_layers
from examples.celery.tasks import make_report
from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers
from fast_channels.routing import add_consumer

setup_channel_layers()


class ReportConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await asyncio.to_thread(make_report.delay, self.channel_name, content["pages"])

    async def report_progress(self, event: dict[str, Any]) -> None:
        await self.send_json({"page": event["page"], "of": event["of"]})


app = FastAPI(lifespan=channel_layers.lifespan)
add_consumer(app, "/ws/report", ReportConsumer)
