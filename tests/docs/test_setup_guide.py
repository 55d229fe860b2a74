"""Programs in the form that users have written for years run as they are: layers, a consumer, a worker in a package."""

import asyncio
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.routing import add_consumer
from fast_channels.testing import WebsocketCommunicator
from tests.docs.pages import Page

GUIDE = "docs/guide/channel-layers.md"

FILES = {
    "__init__.py": "",
    "layers.py": """
import os

from fast_channels.layers import InMemoryChannelLayer, has_layers, register_channel_layer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

def setup_channel_layers():
    if has_layers():
        return
    redis_url = os.getenv("REDIS_URL", "redis://localhost:6379")
    register_channel_layer("default", RedisChannelLayer(hosts=[redis_url]))
    register_channel_layer("memory", InMemoryChannelLayer())
    register_channel_layer("chat", RedisPubSubChannelLayer(hosts=[redis_url], prefix="chat"))
    register_channel_layer("jobs", RedisChannelLayer(hosts=[redis_url], prefix="queue", expiry=900))
    register_channel_layer("notifications", RedisPubSubChannelLayer(hosts=[redis_url], prefix="notify"))
""",
    "main.py": """
from fastapi import FastAPI
from .layers import setup_channel_layers
setup_channel_layers()
app = FastAPI()
""",
    "consumer.py": """
from fast_channels.consumer.websocket import AsyncWebsocketConsumer

class ChatConsumer(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["chat_room"]

    async def connect(self):
        await self.accept()
        await self.channel_layer.group_send(
            "chat_room",
            {"type": "chat.message", "message": "User joined"}
        )

    async def chat_message(self, event):
        await self.send(text_data=event["message"])
""",
    "worker.py": """
from fast_channels.layers import get_channel_layer

async def do_heavy_processing(job_id):
    return "heavy"

async def process_job(job_id: str, channel_name: str):
    result = await do_heavy_processing(job_id)
    layer = get_channel_layer("jobs")
    await layer.send(channel_name, {
        "type": "job.completed",
        "job_id": job_id,
        "result": result
    })
""",
}


@pytest.fixture
def package(
    tmp_path: Path, redis_url: str, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    """Imports a module of the package."""
    name = f"written_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    for file, code in FILES.items():
        (tmp_path / name / file).write_text(code)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda module: import_module(f"{name}.{module}")


async def test_a_consumer_hears_who_joins(package: Callable[[str], Any]) -> None:
    app = package("main").app
    add_consumer(app, "/ws/chat", package("consumer").ChatConsumer)
    client = WebsocketCommunicator(app, "/ws/chat")
    assert await client.connect(timeout=10) == (True, None)
    assert await client.receive_from(timeout=10) == "User joined"
    await client.disconnect(timeout=10)


async def test_a_worker_sends_what_it_has_done(
    package: Callable[[str], Any], channel_layers: ChannelLayerRegistry
) -> None:
    package("main")
    channel = await channel_layers["jobs"].new_channel()
    await package("worker").process_job("42", channel)
    done = await asyncio.wait_for(channel_layers["jobs"].receive(channel), 10)
    assert done == {"type": "job.completed", "job_id": "42", "result": "heavy"}


def test_several_layers_are_what_was_registered(
    package: Callable[[str], Any], channel_layers: ChannelLayerRegistry
) -> None:
    package("main")
    package("layers").setup_channel_layers()
    assert {alias: type(channel_layers[alias]) for alias in channel_layers.list_aliases()} == {
        "default": RedisChannelLayer,
        "memory": InMemoryChannelLayer,
        "chat": RedisPubSubChannelLayer,
        "jobs": RedisChannelLayer,
        "notifications": RedisPubSubChannelLayer,
    }


@pytest.mark.parametrize(
    "call",
    [
        "layer = InMemoryChannelLayer()",
        'hosts=["redis://localhost:6379"], prefix="myapp", expiry=900, capacity=1000',
        'hosts=["redis://localhost:6379"], prefix="chat"',
        "def setup_channel_layers():",
        "if has_layers():",
        'os.getenv("REDIS_URL", "redis://localhost:6379")',
        'register_channel_layer("default", RedisChannelLayer(hosts=[redis_url]))',
        'register_channel_layer("memory", InMemoryChannelLayer())',
        "channel_layer_alias =",
        'groups = ["chat_room"]',
        'os.getenv("ENV"',
        "sentinels=[",
        'service_name="mymaster"',
        "sentinel_kwargs={",
        "connection_kwargs={",
        "async def process_job(job_id: str, channel_name: str):",
        "unregister_channel_layer(alias)",
    ],
)
def test_the_guide_shows_each_of_these_forms(call: str) -> None:
    code = re.sub(r"  # .*|\s+", "", Page(GUIDE).text).replace(",)", ")")
    assert re.sub(r"\s+", "", call) in code
