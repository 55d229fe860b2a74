"""The WebSockets of a page: one consumer for each card, each on the layer that fits it."""

from sandbox.consumers.chat import BAD_ROOM, ChatConsumer
from sandbox.consumers.jobs import JobsConsumer
from sandbox.consumers.lines import LinesConsumer
from sandbox.consumers.notifications import EVERYBODY, NotificationConsumer
from sandbox.consumers.statistics import StatisticsConsumer
from sandbox.consumers.system import SystemConsumer
from sandbox.consumers.visitors import VisitorConsumer

__all__ = [
    "BAD_ROOM",
    "EVERYBODY",
    "ChatConsumer",
    "JobsConsumer",
    "LinesConsumer",
    "NotificationConsumer",
    "StatisticsConsumer",
    "SystemConsumer",
    "VisitorConsumer",
]
