"""A view without async: it sends as it would with any layer of Channels."""

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse


def tell(request: HttpRequest, layer: str) -> HttpResponse:
    text = request.GET["text"]
    async_to_sync(get_channel_layer(layer).group_send)("news", {"type": "news.told", "text": text})
    return HttpResponse(f"told {text}", content_type="text/plain")
