"""The project as an ASGI application: uvicorn examples.django.asgi:application."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from fast_channels.middleware import ChannelReleaser

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django.settings")
http = get_asgi_application()

from examples.django.consumers import LiveNewsConsumer, LocalNewsConsumer, NewsConsumer  # noqa: E402

websocket = URLRouter(
    [
        path("ws/news", NewsConsumer.as_asgi()),
        path("ws/live", LiveNewsConsumer.as_asgi()),
        path("ws/local", LocalNewsConsumer.as_asgi()),
    ]
)
application = ProtocolTypeRouter({"http": http, "websocket": ChannelReleaser(websocket)})
