"""`layer.sync` of the Redis layers keeps its promises on every topology."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.layers import BaseChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.support.acl import make_user
from tests.support.clusters import ClusterOfServers
from tests.support.sentinels import Trio
from tests.support.sync_contract import MakeLayer, SyncContract, interrupted_receive
from tests.support.tls import Authority
from tests.support.waiting import PATIENCE

NOT_NEEDED = {"info", "config|get"}
"""What a layer asks for and can do without."""

KEYS = ["a key of more than sixteen characters"]


def make_queue(hosts: Any, **options: Any) -> BaseChannelLayer:
    return RedisChannelLayer(hosts, f"test-{uuid4().hex[:12]}", **options)


def make_pubsub(hosts: Any, **options: Any) -> BaseChannelLayer:
    return RedisPubSubChannelLayer(hosts, f"test-{uuid4().hex[:12]}", **options)


class TestQueue(SyncContract):
    @pytest.fixture
    def make_layer(self, redis_url: str) -> MakeLayer:
        return partial(make_queue, [redis_url])


class TestQueueOnTwoHosts(SyncContract):
    @pytest.fixture
    def make_layer(self, redis_url: str, second_redis_url: str) -> MakeLayer:
        return partial(make_queue, [redis_url, second_redis_url])


class TestQueueOnDebiansRedis(SyncContract):
    """The oldest server that is supported."""

    @pytest.fixture
    def make_layer(self, debians_redis_url: str) -> MakeLayer:
        return partial(make_queue, [debians_redis_url])


class TestQueueOverSentinels(SyncContract):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> MakeLayer:
        return partial(make_queue, None, **sentinels.options)


class TestQueueWaitingForReplicas(SyncContract):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> MakeLayer:
        return partial(make_queue, None, durability="replicated", **sentinels.options)


class TestQueueOnACluster(SyncContract):
    @pytest.fixture
    def make_layer(self, cluster: ClusterOfServers) -> MakeLayer:
        return partial(make_queue, cluster.urls, cluster=True)


class TestQueueEncrypted(SyncContract):
    @pytest.fixture
    def make_layer(self, redis_url: str) -> MakeLayer:
        return partial(make_queue, [redis_url], symmetric_encryption_keys=KEYS)


@pytest.mark.tls
class TestQueueOverTls(SyncContract):
    @pytest.fixture
    def make_layer(self, tls_hosts: list[Any]) -> MakeLayer:
        return partial(make_queue, tls_hosts)


class OfPubSub(SyncContract):
    keeps_for_nobody = False
    send_raises_channel_full = False
    expires = False


class TestPubSub(OfPubSub):
    @pytest.fixture
    def make_layer(self, redis_url: str) -> MakeLayer:
        return partial(make_pubsub, [redis_url])


class TestPubSubOnTwoHosts(OfPubSub):
    @pytest.fixture
    def make_layer(self, redis_url: str, second_redis_url: str) -> MakeLayer:
        return partial(make_pubsub, [redis_url, second_redis_url])


class TestPubSubOverSentinels(OfPubSub):
    @pytest.fixture
    def make_layer(self, sentinels: Trio) -> MakeLayer:
        return partial(make_pubsub, None, **sentinels.options)


class TestPubSubOnACluster(OfPubSub):
    @pytest.fixture
    def make_layer(self, cluster: ClusterOfServers) -> MakeLayer:
        return partial(make_pubsub, cluster.urls, cluster=True)


class TestPubSubEncrypted(OfPubSub):
    @pytest.fixture
    def make_layer(self, redis_url: str) -> MakeLayer:
        return partial(make_pubsub, [redis_url], symmetric_encryption_keys=KEYS)


@pytest.mark.tls
class TestPubSubOverTls(OfPubSub):
    @pytest.fixture
    def make_layer(self, tls_hosts: list[Any]) -> MakeLayer:
        return partial(make_pubsub, tls_hosts)


class AsAUser(SyncContract):
    """Who may do no more than the page about security says."""

    user: str
    make: Callable[..., BaseChannelLayer]

    @pytest.fixture
    def make_layer(self, own_server: ServerProcess) -> Iterator[MakeLayer]:
        with Redis(port=own_server.port) as admin:

            def make(**options: Any) -> BaseChannelLayer:
                prefix = f"test-{uuid4().hex[:12]}"
                name, password = make_user(admin, self.user, prefix)
                host = {"host": own_server.host, "port": own_server.port, "username": name, "password": password}
                return type(self).make([host], prefix=prefix, **options)

            yield make
            assert {entry["object"] for entry in admin.acl_log()} <= NOT_NEEDED


class TestQueueAsAUser(AsAUser):
    user = "shop-queue"
    make = RedisChannelLayer


class TestPubSubAsAUser(AsAUser, OfPubSub):
    user = "shop-live"
    make = RedisPubSubChannelLayer


@pytest.fixture(scope="module")
def tls_hosts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("authority")
    authority = Authority(folder)
    with authority.server("localhost") as server:
        yield [{"host": "localhost", "port": server.port, "ssl": True, "ssl_ca_certs": authority.file}]


def test_what_nobody_got_because_of_ctrl_c_is_not_published_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = RedisPubSubChannelLayer([redis_url], f"test-{uuid4().hex[:12]}")
    other = RedisPubSubChannelLayer([redis_url], layer.prefix)
    with layer.sync, other.sync:
        for each in (layer, other):
            with pytest.raises(TimeoutError):
                each.sync.receive("news", timeout=0.01)  # heard from now on
        layer.sync.send("news", {"n": 1})
        interrupted_receive(layer, "news", monkeypatch)
        layer.sync.send("news", {"n": 2})
        for each in (layer, other):
            assert [each.sync.receive("news", timeout=PATIENCE)["n"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_a_layer_that_sends_in_a_way_of_its_own_sends_so_from_threads(redis_url: str, kind: Any) -> None:
    class Stamped(kind):  # type: ignore[misc]
        async def send(self, channel: str, message: Any, *, expiry: float | None = None) -> None:
            await super().send(channel, message | {"stamp": 1}, expiry=expiry)

    layer = Stamped([redis_url], f"test-{uuid4().hex[:12]}")
    with layer.sync:
        channel = layer.sync.new_channel()
        layer.sync.send(channel, {"n": 1})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 1, "stamp": 1}
    assert layer.statistics().sent == 1
