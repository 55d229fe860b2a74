"""A send that returns when a replica has the message."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from fast_channels.exceptions import ChannelFull, NotAllSent, OutcomeUnknown
from fast_channels.layers.redis import RedisChannelLayer, courier, durability
from fast_channels.layers.redis.blocking_connection import BlockingConnection
from fast_channels.testing.server import ServerProcess
from tests.support.clusters import ClusterOfServers
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

MESSAGE = {"type": "job"}

AT_ONCE = {"repl-diskless-sync-delay": 0}
"""Settings of a master that makes no replica wait."""

NOT_CONFIRMED = "accepted the message, but no replica confirmed it"


@contextmanager
def replica_of(master: ServerProcess) -> Iterator[ServerProcess]:
    with (
        ServerProcess({"replicaof": f"127.0.0.1 {master.port}"}, binary=master.binary) as replica,
        Redis(port=replica.port) as client,
    ):
        deadline = time.monotonic() + 10
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield replica


@pytest.fixture(scope="module")
def pair(redis_server: ServerProcess) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """A master and its replica, which stand still at times."""
    with ServerProcess(AT_ONCE, binary=redis_server.binary) as master, replica_of(master) as replica:
        yield master, replica


@pytest.fixture
def master(pair: tuple[ServerProcess, ServerProcess]) -> Iterator[ServerProcess]:
    master, _ = pair
    yield master
    with Redis(port=master.port) as client:
        client.flushall()


@pytest.fixture
def replica(pair: tuple[ServerProcess, ServerProcess]) -> Iterator[ServerProcess]:
    _, replica = pair
    yield replica
    replica.resume()


Make = Callable[..., RedisChannelLayer]


@pytest.fixture
async def make(master: ServerProcess) -> AsyncIterator[Make]:
    """Makes layers on `master` whose sends wait for a replica."""
    layers: list[RedisChannelLayer] = []

    def make(url: str = master.url, **options: Any) -> RedisChannelLayer:
        layers.append(RedisChannelLayer(hosts=[url], **{"durability": "replicated", "send_timeout": 0.5, **options}))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.close()


def commands(server: ServerProcess, name: str) -> int:
    """How often a server was asked for something."""
    with Redis(port=server.port) as client:
        return int(client.info("commandstats").get(f"cmdstat_{name}", {}).get("calls", 0))


def messages(server: ServerProcess, channel: str) -> int:
    """How many messages of a shared channel a server has."""
    with Redis(port=server.port) as client:
        return int(client.llen(f"asgi|{{c:{channel}}}|ready"))


@pytest.mark.parametrize("durability", ["", "disk", None, True])
def test_what_there_is_not_is_refused(durability: Any) -> None:
    with pytest.raises(ValueError, match="durability must be one of server, replicated"):
        RedisChannelLayer(durability=durability)


async def test_what_was_sent_is_on_the_replica(make: Make, replica: ServerProcess) -> None:
    layer = make()
    for number in range(1, 51):
        await layer.send("jobs", MESSAGE)
        assert messages(replica, "jobs") == number


async def test_sends_share_a_wait(make: Make, master: ServerProcess, replica: ServerProcess) -> None:
    layer = make(capacity=1000)
    await layer.send("jobs", MESSAGE)
    before = commands(master, "wait")
    await asyncio.gather(*(layer.send(f"jobs-{number % 10}", MESSAGE) for number in range(500)))
    assert commands(master, "wait") - before < 20


async def test_what_a_group_was_sent_is_on_the_replica(make: Make, replica: ServerProcess) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("room", "jobs")
    await layer.group_send("room", MESSAGE)
    assert messages(replica, "jobs") == 1
    assert await layer.receive(channel) == MESSAGE


# None confirms


async def timed_out(sending: Any) -> tuple[float, OutcomeUnknown]:
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match=NOT_CONFIRMED) as caught:
        await sending
    return time.monotonic() - began, caught.value


async def test_a_replica_that_stands_still_is_waited_for_no_longer_than_a_send(
    make: Make, master: ServerProcess, replica: ServerProcess
) -> None:
    layer = make()
    await layer.send("jobs", MESSAGE)
    replica.pause()
    seconds, error = await timed_out(layer.send("jobs", MESSAGE))
    assert 0.5 <= seconds < 10
    assert error.server == f"{master.url}/0"
    assert str(error).startswith(error.server)
    assert messages(master, "jobs") == 2, "it is stored"
    replica.resume()
    await layer.send("jobs", MESSAGE)


async def test_twin_the_server_alone_is_not_waited_for(make: Make, replica: ServerProcess) -> None:
    layer = make(durability="server", send_timeout=60)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    await asyncio.wait_for(layer.send("jobs", MESSAGE), PATIENCE)


async def test_without_any_replica_it_is_the_same(make: Make, own_server: ServerProcess) -> None:
    seconds, _ = await timed_out(make(own_server.url).send("jobs", MESSAGE))
    assert 0.5 <= seconds < 10
    assert messages(own_server, "jobs") == 1


async def test_a_replica_that_comes_back_in_time_confirms(make: Make, replica: ServerProcess) -> None:
    layer = make(send_timeout=20)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    sending = [asyncio.ensure_future(layer.send("jobs", MESSAGE)) for _ in range(3)]
    done, _ = await asyncio.wait(sending, timeout=1.2)  # longer than one WAIT
    assert not done
    replica.resume()
    await asyncio.wait_for(asyncio.gather(*sending), 10)


async def test_who_comes_later_waits_as_long(make: Make, replica: ServerProcess) -> None:
    layer = make(send_timeout=2)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    first = asyncio.ensure_future(timed_out(layer.send("jobs", MESSAGE)))
    await asyncio.sleep(1.5)
    second = asyncio.ensure_future(timed_out(layer.send("jobs", MESSAGE)))
    for seconds, _ in (await first, await second):
        assert 2 <= seconds < 3.5


async def test_members_of_a_group_get_theirs_meanwhile(make: Make, replica: ServerProcess) -> None:
    layer = make(send_timeout=60)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    replica.pause()
    sending = asyncio.ensure_future(layer.group_send("room", MESSAGE))
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == MESSAGE
    assert not sending.done()
    replica.resume()
    await sending


async def test_what_was_not_stored_is_not_waited_for(make: Make, replica: ServerProcess) -> None:
    layer = make(capacity=1, send_timeout=60)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    with pytest.raises(ChannelFull):
        await asyncio.wait_for(layer.send("jobs", MESSAGE), PATIENCE)


async def test_a_membership_is_not_waited_for(make: Make, replica: ServerProcess) -> None:
    layer, other = make(send_timeout=60), make()
    channel = await other.new_channel()
    replica.pause()
    await asyncio.wait_for(layer.group_add("room", channel), PATIENCE)


async def test_a_send_that_is_cancelled_disturbs_nobody(make: Make, replica: ServerProcess) -> None:
    layer = make(send_timeout=20)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    cancelled, other = (asyncio.ensure_future(layer.send("jobs", MESSAGE)) for _ in range(2))
    await asyncio.sleep(0.1)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    replica.resume()
    await asyncio.wait_for(other, 10)


async def test_closing_the_layer_ends_the_wait(make: Make, replica: ServerProcess) -> None:
    layer = make(send_timeout=20)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
    await asyncio.sleep(0.1)
    await layer.close()
    with pytest.raises(OutcomeUnknown, match="the layer was closed"):
        await sending
    replica.resume()
    await layer.send("jobs", MESSAGE)


# The connection that waits


async def waiting_at(server: ServerProcess, but: object = None) -> dict[str, str]:
    """The client that waits for replicas, once there is one, or another one."""
    found: dict[str, str] = {}

    def look() -> bool:
        with Redis(port=server.port) as client:
            found.update({key: value for each in client.client_list() if each["cmd"] == "wait" and each["id"] != but
                          for key, value in each.items()})  # fmt: skip
        return bool(found)

    await until(look)
    return found


async def test_a_wait_whose_connection_breaks_is_repeated(
    make: Make, master: ServerProcess, replica: ServerProcess
) -> None:
    layer = make(send_timeout=20)
    await layer.send("jobs", MESSAGE)
    replica.pause()
    sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
    waiting = await waiting_at(master)
    with Redis(port=master.port) as client:
        client.client_kill_filter(_id=waiting["id"])
    await waiting_at(master, but=waiting["id"])
    assert not sending.done()
    replica.resume()
    await asyncio.wait_for(sending, 10)


async def test_another_server_cannot_confirm_what_the_one_before_has_accepted(
    make: Make, own_server: ServerProcess
) -> None:
    """The one that takes over has a replica, which has everything that it has: but not the message."""
    with ServerProcess(AT_ONCE) as heir, replica_of(heir), Proxy(own_server.port) as proxy:
        layer = make(proxy.url, send_timeout=20)
        sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
        await waiting_at(own_server)
        proxy.target = ("127.0.0.1", heir.port)
        own_server.kill()
        with pytest.raises(OutcomeUnknown, match="another server has taken its place"):
            await asyncio.wait_for(sending, 10)
        await layer.send("jobs", MESSAGE)
        assert messages(heir, "jobs") == 1


async def test_twin_without_asking_who_it_is_another_server_confirms_what_it_never_had(
    make: Make, own_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "_run_id", lambda asked: "the only one")
    with ServerProcess(AT_ONCE) as heir, replica_of(heir), Proxy(own_server.port) as proxy:
        layer = make(proxy.url, send_timeout=20)
        sending = asyncio.ensure_future(layer.send("jobs", MESSAGE))
        await waiting_at(own_server)
        proxy.target = ("127.0.0.1", heir.port)
        own_server.kill()
        await asyncio.wait_for(sending, 10)
        assert messages(heir, "jobs") == 0


# From a thread, over the connection that the message was sent over


AN_ANSWER = b"$3\r\n0:1\r\n"
"""Of the script that stored one message."""


@pytest.fixture
def heir() -> Iterator[ServerProcess]:
    """A server with a replica that has all that it has."""
    with ServerProcess(AT_ONCE) as heir, replica_of(heir):
        yield heir


@pytest.fixture
def threaded(proxy_to_master: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisChannelLayer]:
    """Its `sync` has a connection over the proxy, and the next one of two answers is the last that comes over it."""
    monkeypatch.setattr(courier.Courier, "_is_check_due", lambda *_: False)  # so nothing else is answered first
    layer = RedisChannelLayer(hosts=[proxy_to_master.url], durability="replicated", send_timeout=20)
    with layer.sync:
        layer.sync.send("others", MESSAGE)
        proxy_to_master.cut_reply_after(len(AN_ANSWER))
        yield layer


@pytest.fixture
def proxy_to_master(master: ServerProcess, replica: ServerProcess) -> Iterator[Proxy]:
    with Proxy(master.port) as proxy:
        yield proxy


TWO = [("first", MESSAGE), ("second", MESSAGE)]


def test_a_server_cannot_confirm_what_another_one_has_accepted_in_the_same_call(
    threaded: RedisChannelLayer, proxy_to_master: Proxy, heir: ServerProcess
) -> None:
    proxy_to_master.target = ("127.0.0.1", heir.port)
    with pytest.raises(NotAllSent) as caught:
        threaded.sync.send_many(TWO)
    (failure,) = caught.value.failures
    assert isinstance(failure.error, OutcomeUnknown)
    assert failure.channel == "first"
    assert "another server has taken its place" in str(failure.error)
    assert (messages(heir, "first"), messages(heir, "second")) == (0, 1)


def test_twin_in_threads_without_asking_who_it_is_it_confirms_what_it_never_had(
    threaded: RedisChannelLayer, proxy_to_master: Proxy, heir: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockingConnection, "run_id", property(lambda _: "the only one", lambda *_: None))
    proxy_to_master.target = ("127.0.0.1", heir.port)
    threaded.sync.send_many(TWO)
    assert (messages(heir, "first"), messages(heir, "second")) == (0, 1)


def test_a_server_that_does_not_say_who_it_is_cannot_either(
    threaded: RedisChannelLayer, proxy_to_master: Proxy, heir: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockingConnection, "run_id", property(lambda _: None, lambda *_: None))
    proxy_to_master.target = ("127.0.0.1", heir.port)
    with pytest.raises(NotAllSent, match="the connection was lost"):
        threaded.sync.send_many(TWO)


def test_the_same_server_confirms_over_a_new_connection(threaded: RedisChannelLayer, replica: ServerProcess) -> None:
    threaded.sync.send_many(TWO)
    assert threaded.statistics().disconnections == 1
    assert (messages(replica, "first"), messages(replica, "second")) == (1, 1)


# Who may not wait, and who waits alone


async def test_a_user_who_may_not_wait_is_told(make: Make, master: ServerProcess) -> None:
    with Redis(port=master.port) as client:
        client.acl_setuser(
            "restless", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-wait"]
        )
    layer = make(master.url.replace("redis://", "redis://restless@"))
    _, error = await timed_out(layer.send("jobs", MESSAGE))
    assert "NOPERM" in str(error)


async def test_each_node_of_a_cluster_waits_for_its_own_replicas() -> None:
    with ClusterOfServers(replicas=1) as cluster:
        options: dict[str, Any] = {"hosts": cluster.urls, "cluster": True, "durability": "replicated"}
        async with RedisChannelLayer(**options) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await asyncio.gather(*(layer.send(f"jobs-{number}", MESSAGE) for number in range(100)))
            await layer.group_send("room", MESSAGE)
            assert await asyncio.wait_for(layer.receive(channel), 10) == MESSAGE
