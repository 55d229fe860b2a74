"""ASGI messages through a consumer to its `receive()`, as fast as they can be had. One message is one unit."""

from typing import Any

from benchmarks.prepared import Prepared, dispatch_result
from benchmarks.program import run
from benchmarks.workloads.consumer import ALIAS, register
from fast_channels.consumer.websocket import AsyncWebsocketConsumer


class CountingConsumer(AsyncWebsocketConsumer):
    """Keeps what it got."""

    def __init__(self, got: list[str | None]) -> None:
        super().__init__()
        self._got = got

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self._got.append(text_data)


class LayeredConsumer(CountingConsumer):
    """The same with a channel of its own."""

    channel_layer_alias = ALIAS


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    if "layer" in parameters:
        register(parameters)
    consumer_class = LayeredConsumer if "layer" in parameters else CountingConsumer

    async def application(prepared: Prepared) -> None:
        await consumer_class(prepared.got)(prepared.scope, prepared.receive, prepared.send)

    return await dispatch_result(application, parameters["messages"])


if __name__ == "__main__":
    run(main)
