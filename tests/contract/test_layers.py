"""Every layer keeps every promise."""

import asyncio
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest
import uvloop

from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.contract import ChannelLayerContract
from tests.support.clusters import ClusterOfServers
from tests.support.sentinels import Trio


class OnUvloop:
    """The same on the other event loop."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return uvloop.new_event_loop()


class TestInMemory(ChannelLayerContract):
    @pytest.fixture
    def make_layer(self) -> Callable[..., BaseChannelLayer]:
        def make(prefix: str = "", **options: object) -> BaseChannelLayer:
            return InMemoryChannelLayer(**options)  # type: ignore[arg-type]

        return make


class TestInMemoryOnUvloop(OnUvloop, TestInMemory):
    pass


class TestPubSub(ChannelLayerContract):
    shared_between_layers = True
    keeps_for_nobody = False
    plain_channels_reach_all = True
    send_raises_channel_full = False
    capacity_is_exact = False
    expires = False
    carries_any_value = True

    @pytest.fixture
    def hosts(self, redis_url: str) -> list[str]:
        return [redis_url]

    @pytest.fixture
    def make_layer(self, hosts: list[str]) -> Callable[..., BaseChannelLayer]:
        return partial(_pubsub, hosts, f"test-{uuid4().hex[:12]}")


class TestPubSubOnUvloop(OnUvloop, TestPubSub):
    pass


class TestPubSubOnTwoHosts(TestPubSub):
    @pytest.fixture
    def hosts(self, redis_url: str, second_redis_url: str) -> list[str]:
        return [redis_url, second_redis_url]


class TestPubSubOnTwoHostsOnUvloop(OnUvloop, TestPubSubOnTwoHosts):
    pass


class TestPubSubOnDebiansRedis(TestPubSub):
    """The oldest server that is supported."""

    @pytest.fixture
    def hosts(self, debians_redis_url: str) -> list[str]:
        return [debians_redis_url]


class TestPubSubOnACluster(TestPubSub):
    @pytest.fixture
    def make_layer(self, cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_pubsub, cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestPubSubOnAClusterOnUvloop(OnUvloop, TestPubSubOnACluster):
    pass


class TestPubSubOnAClusterOfDebiansRedis(TestPubSub):
    @pytest.fixture
    def make_layer(self, debians_redis_cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_pubsub, debians_redis_cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestPubSubOnAClusterOfRedis8(TestPubSub):
    @pytest.fixture
    def make_layer(self, redis8_cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_pubsub, redis8_cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestPubSubOnRedis8(TestPubSub):
    @pytest.fixture
    def hosts(self, redis8_url: str) -> list[str]:
        return [redis8_url]


class TestPubSubOverSentinels(TestPubSub):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> Callable[..., BaseChannelLayer]:
        return partial(_pubsub, None, f"test-{uuid4().hex[:12]}", **sentinels.options)


class TestQueue(ChannelLayerContract):
    shared_between_layers = True

    @pytest.fixture
    def hosts(self, redis_url: str) -> list[str]:
        return [redis_url]

    @pytest.fixture
    def make_layer(self, hosts: list[str]) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, hosts, f"test-{uuid4().hex[:12]}")


class TestQueueOnUvloop(OnUvloop, TestQueue):
    pass


class TestQueueOnTwoHosts(TestQueue):
    @pytest.fixture
    def hosts(self, redis_url: str, second_redis_url: str) -> list[str]:
        return [redis_url, second_redis_url]


class TestQueueOnACluster(TestQueue):
    @pytest.fixture
    def make_layer(self, cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestQueueOnAClusterOnUvloop(OnUvloop, TestQueueOnACluster):
    pass


class TestQueueOnAClusterOfDebiansRedis(TestQueue):
    @pytest.fixture
    def make_layer(self, debians_redis_cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, debians_redis_cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestQueueOnAClusterOfRedis8(TestQueue):
    @pytest.fixture
    def make_layer(self, redis8_cluster: ClusterOfServers) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, redis8_cluster.urls, f"test-{uuid4().hex[:12]}", cluster=True)


class TestQueueOnDebiansRedis(TestQueue):
    """The oldest server that is supported."""

    @pytest.fixture
    def hosts(self, debians_redis_url: str) -> list[str]:
        return [debians_redis_url]


class TestQueueOnRedis8(TestQueue):
    @pytest.fixture
    def hosts(self, redis8_url: str) -> list[str]:
        return [redis8_url]


class TestQueueOverSentinels(TestQueue):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, None, f"test-{uuid4().hex[:12]}", **sentinels.options)


class TestQueueWaitingForReplicas(TestQueue):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> Callable[..., BaseChannelLayer]:
        return partial(_queue, None, f"test-{uuid4().hex[:12]}", durability="replicated", **sentinels.options)


def _queue(hosts: list[str] | None, unique: str, *, prefix: str = "", **options: object) -> BaseChannelLayer:
    return RedisChannelLayer(hosts=hosts, prefix=unique + prefix, **options)  # type: ignore[arg-type]


def _pubsub(hosts: list[str] | None, unique: str, *, prefix: str = "", **options: object) -> BaseChannelLayer:
    options.pop("expiry", None)
    return RedisPubSubChannelLayer(hosts=hosts, prefix=unique + prefix, **options)  # type: ignore[arg-type]
