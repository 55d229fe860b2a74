"""An event loop that ends while a consumer runs, as in a test that forgets to disconnect."""

import asyncio
import gc
import logging

import pytest
from redis import Redis

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import ChannelLayerRegistry
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing import WebsocketCommunicator
from fast_channels.testing.server import ServerProcess
from tests.support.waiting import until


class Member(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]


@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_it_leaves_no_connection_and_says_nothing(
    kind: type[RedisChannelLayer],
    own_server: ServerProcess,
    channel_layers: ChannelLayerRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel_layers.register("default", kind([own_server.url]))

    async def forget_to_disconnect() -> None:
        connected, _ = await WebsocketCommunicator(Member.as_asgi(), "/").connect()
        assert connected

    with Redis(port=own_server.port) as admin:
        for _ in range(3):
            asyncio.run(forget_to_disconnect())
            gc.collect()  # what was left behind warns, which is an error here
        asyncio.run(until(lambda: len(admin.client_list()) == 1))
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text for text in said if "cannot keep what the queue promises" not in text] == []
