"""The live page's WebSocket, in FastAPI: what Flask does not serve."""

from typing import Any

from fastapi import FastAPI

from examples.flask.layers import setup_channel_layers
from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import channel_layers
from fast_channels.routing import add_consumer

setup_channel_layers()


class OrdersConsumer(AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["orders"]

    async def order_placed(self, event: dict[str, Any]) -> None:
        await self.send_json({"item": event["item"]})


app = FastAPI(lifespan=channel_layers.lifespan)
add_consumer(app, "/ws/orders", OrdersConsumer)
