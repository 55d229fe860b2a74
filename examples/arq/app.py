"""A WebSocket that asks for a report, and hears how far it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI

from examples.arq.layers import REDIS_URL, setup_channel_layers
from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers
from fast_channels.routing import add_consumer

setup_channel_layers()


class ReportConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.scope["app"].state.jobs.enqueue_job("make_report", self.channel_name, content["pages"])

    async def report_progress(self, event: dict[str, Any]) -> None:
        await self.send_json({"page": event["page"], "of": event["of"]})


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.jobs = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    async with channel_layers.lifespan(app):
        yield
    await app.state.jobs.aclose()


app = FastAPI(lifespan=lifespan)
add_consumer(app, "/ws/report", ReportConsumer)
