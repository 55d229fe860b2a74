"""Litestar's channels, as its documentation uses them."""

from litestar import Litestar, WebSocket, websocket  # type: ignore[import-not-found]
from litestar.channels import ChannelsPlugin  # type: ignore[import-not-found]
from litestar.channels.backends.redis import RedisChannelsPubSubBackend  # type: ignore[import-not-found]
from redis.asyncio import Redis

from benchmarks.e2e.apps.settings import REDIS_URL, ROOM


@websocket("/send/{room:str}")  # type: ignore[untyped-decorator]
async def send(socket: WebSocket, room: str, channels: ChannelsPlugin) -> None:
    await socket.accept()
    async for text in socket.iter_data():
        await channels.wait_published(text, ROOM + room)


@websocket("/room/{room:str}")  # type: ignore[untyped-decorator]
async def receive(socket: WebSocket, room: str, channels: ChannelsPlugin) -> None:
    await socket.accept()
    async with (
        channels.start_subscription(ROOM + room) as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        async for _ in socket.iter_data():
            pass


backend = RedisChannelsPubSubBackend(redis=Redis.from_url(REDIS_URL))
app = Litestar([send, receive], plugins=[ChannelsPlugin(backend=backend, arbitrary_channels_allowed=True)])
