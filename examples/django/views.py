"""Views without async, and two ways to send from them."""

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse


def tell(request: HttpRequest, layer: str) -> HttpResponse:
    """As with any layer of Channels. It works everywhere, and opens a connection for each call."""
    text = request.GET["text"]
    async_to_sync(get_channel_layer(layer).group_send)("news", {"type": "news.told", "text": text})
    return HttpResponse(f"told {text}", content_type="text/plain")


def shout(request: HttpRequest, layer: str) -> HttpResponse:
    """Over connections that are kept: several times as fast."""
    text = request.GET["text"]
    get_channel_layer(layer).sync.group_send("news", {"type": "news.told", "text": text.upper()})
    return HttpResponse(f"shouted {text}", content_type="text/plain")
