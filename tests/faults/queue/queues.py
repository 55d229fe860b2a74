"""The layer, and what stands in for it in a twin."""

from typing import Any, Literal

from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.layers.redis.config import Host
from tests.faults.queue.naive import LeasedQueue, PlainQueue, ScriptedQueue, StampedQueue

__all__ = ["Kind", "make_queue"]

Kind = Literal["layer", "leased", "plain", "scripted", "stamped"]

QUEUES: dict[Kind, type[BaseChannelLayer]] = {
    "layer": RedisChannelLayer,
    "leased": LeasedQueue,
    "plain": PlainQueue,
    "scripted": ScriptedQueue,
    "stamped": StampedQueue,
}


def make_queue(kind: Kind, url: Host, **options: Any) -> BaseChannelLayer:
    """A queue of this kind: a process of its own as far as the server knows."""
    return QUEUES[kind](hosts=[url], **options)  # type: ignore[call-arg]
