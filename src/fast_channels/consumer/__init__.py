"""Consumers: what serves one connection, with frames, events of a layer, and groups."""

from fast_channels.consumer.base import AsyncConsumer, get_handler_name
from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.consumer.sending import ClientGone
from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

__all__ = [
    "AsyncConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "ClientGone",
    "get_handler_name",
]
