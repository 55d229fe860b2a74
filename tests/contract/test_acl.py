"""Every layer keeps every promise as a user who may do no more than the page about security says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import BaseChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.contract import ChannelLayerContract
from fast_channels.testing.server import ServerProcess
from tests.contract.test_layers import TestPubSub, TestQueue
from tests.support.acl import commands_of, extras, make_user
from tests.support.clusters import ClusterOfServers, wait_for
from tests.support.servers import server_binary

NOT_NEEDED = {"info", "config|get"}
"""What a layer asks for and can do without."""

REPLICATED = '`durability="replicated"`'

NOT_WAITING: dict[str, str | int] = {"repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}


class AsAUser(ChannelLayerContract):
    """On servers of its own, each prefix with a user of its own. Nothing else may be refused to it."""

    layer: type[RedisChannelLayer] | type[RedisPubSubChannelLayer]
    user: str
    kind = "valkey9"
    needs: tuple[str, ...] = ()
    """What the page's table says that needs more commands, and is done here."""
    options: Mapping[str, Any] = {}

    @classmethod
    @contextmanager
    def servers(cls) -> Iterator[Sequence[ServerProcess]]:
        """All that there are; the layer is given the first."""
        with ServerProcess(binary=server_binary(cls.kind)) as server:
            yield [server]

    @pytest.fixture(scope="class")
    @classmethod
    def admins(cls) -> Iterator[list[Any]]:
        with cls.servers() as servers, ExitStack() as stack:
            admins = [stack.enter_context(Redis(port=server.port)) for server in servers]
            yield admins
            refused = {entry["object"] for admin in admins for entry in admin.acl_log()}
            assert refused <= NOT_NEEDED.difference(*(cls.allowed(what) for what in cls.needs))

    @staticmethod
    def allowed(what: str) -> set[str]:
        """The commands of a row of the table."""
        return commands_of(extras()[what])

    @pytest.fixture
    def make_layer(self, admins: list[Any]) -> Callable[..., BaseChannelLayer]:
        unique, port = f"test-{uuid4().hex[:12]}", admins[0].get_connection_kwargs()["port"]
        more = [rule for what in self.needs for rule in extras()[what]]

        def make(prefix: str = "", **options: Any) -> BaseChannelLayer:
            users = {make_user(admin, self.user, unique + prefix, *more) for admin in admins}
            [(username, password)] = users
            host = {"host": "127.0.0.1", "port": port, "username": username, "password": password}
            return self.layer(hosts=[host], prefix=unique + prefix, **{**self.options, **options})

        return make


class OnACluster(AsAUser):
    """Each node knows the user: what one of them learns of users, it keeps for itself."""

    options = {"cluster": True}

    @classmethod
    @contextmanager
    def servers(cls) -> Iterator[Sequence[ServerProcess]]:
        with ClusterOfServers(binary=server_binary(cls.kind)) as cluster:
            yield cluster.nodes


class WithAReplica(AsAUser):
    """It has to say that it has what was sent."""

    options = {"durability": "replicated"}

    @classmethod
    @contextmanager
    def servers(cls) -> Iterator[Sequence[ServerProcess]]:
        with ServerProcess(NOT_WAITING, binary=server_binary(cls.kind)) as master:
            config = {**NOT_WAITING, "replicaof": f"127.0.0.1 {master.port}"}
            with ServerProcess(config, binary=master.binary), Redis(port=master.port) as admin:
                wait_for(lambda: admin.info("replication").get("slave0", {}).get("state") == "online", "in step")
                yield [master]


class TestPubSubAsAUser(AsAUser, TestPubSub):
    layer = RedisPubSubChannelLayer
    user = "shop-live"


class TestQueueAsAUser(AsAUser, TestQueue):
    layer = RedisChannelLayer
    user = "shop-queue"


class TestPubSubAsAUserOnACluster(OnACluster, TestPubSub):
    layer = RedisPubSubChannelLayer
    user = "shop-live"
    needs = ("pub/sub on a Cluster",)


class TestQueueAsAUserOnACluster(OnACluster, TestQueue):
    layer = RedisChannelLayer
    user = "shop-queue"
    needs = ("the queue on a Cluster",)


class TestQueueAsAUserWaitingForReplicas(WithAReplica, TestQueue):
    layer = RedisChannelLayer
    user = "shop-queue"
    needs = (REPLICATED,)


@pytest.mark.parametrize(
    "user", [TestPubSubAsAUserOnACluster, TestQueueAsAUserOnACluster, TestQueueAsAUserWaitingForReplicas]
)
async def test_twin_without_what_more_it_needs_the_layer_is_refused(user: type[AsAUser]) -> None:
    with user.servers() as servers, ExitStack() as stack:
        admins = [stack.enter_context(Redis(port=server.port)) for server in servers]
        [(name, password)] = {make_user(admin, user.user) for admin in admins}
        host = {"host": "127.0.0.1", "port": servers[0].port, "username": name, "password": password}
        async with user.layer(hosts=[host], prefix="shop", send_timeout=1, **user.options) as layer:
            with pytest.raises(FastChannelsError, match=r"(?i)perm|can't run"):
                await layer.send("jobs", {"type": "test"})


class TestPubSubAsAUserOfDebiansRedis(TestPubSubAsAUser):
    kind = "redis7"


class TestQueueAsAUserOfDebiansRedis(TestQueueAsAUser):
    kind = "redis7"


del TestPubSub, TestQueue
