"""Every layer keeps every promise as a user who may do no more than the page about security says."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.layers import BaseChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.contract import ChannelLayerContract
from fast_channels.testing.server import ServerProcess
from tests.contract.test_layers import TestPubSub, TestQueue
from tests.support.acl import make_user
from tests.support.servers import server_binary

NOT_NEEDED = {"info", "config|get"}
"""What a layer asks for and can do without."""


class AsAUser(ChannelLayerContract):
    """On a server of its own, each prefix with a user of its own. Nothing else may be refused to it."""

    layer: type[RedisChannelLayer] | type[RedisPubSubChannelLayer]
    user: str
    kind = "valkey9"

    @pytest.fixture(scope="class")
    @classmethod
    def admin(cls) -> Iterator[Any]:
        with ServerProcess(binary=server_binary(cls.kind)) as server, Redis(port=server.port) as admin:
            yield admin
            refused = {entry["object"] for entry in admin.acl_log()}
            assert refused <= NOT_NEEDED

    @pytest.fixture
    def make_layer(self, admin: Any) -> Callable[..., BaseChannelLayer]:
        unique, port = f"test-{uuid4().hex[:12]}", admin.get_connection_kwargs()["port"]

        def make(prefix: str = "", **options: Any) -> BaseChannelLayer:
            username, password = make_user(admin, self.user, unique + prefix)
            host = {"host": "127.0.0.1", "port": port, "username": username, "password": password}
            return self.layer(hosts=[host], prefix=unique + prefix, **options)

        return make


class TestPubSubAsAUser(AsAUser, TestPubSub):
    layer = RedisPubSubChannelLayer
    user = "shop-live"


class TestQueueAsAUser(AsAUser, TestQueue):
    layer = RedisChannelLayer
    user = "shop-queue"


class TestPubSubAsAUserOfDebiansRedis(TestPubSubAsAUser):
    kind = "redis7"


class TestQueueAsAUserOfDebiansRedis(TestQueueAsAUser):
    kind = "redis7"


del TestPubSub, TestQueue
