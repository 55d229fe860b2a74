"""Both layers over Sentinels, with the arguments that the guide prints and as an entry of `hosts`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer, blocking_servers, topology
from fast_channels.layers.redis.blocking_servers import BlockingEndpoint
from fast_channels.layers.redis.config import parse_hosts
from fast_channels.layers.redis.topology import Endpoint
from fast_channels.testing.server import ServerProcess
from tests.support.sentinels import SENTINEL_PASSWORD, SERVER_PASSWORD, SERVICE, Trio, sentinel_of
from tests.support.waiting import PATIENCE

LAYERS: list[Any] = [RedisChannelLayer, RedisPubSubChannelLayer]

MESSAGE = {"type": "chat.message"}


async def exchange(layer: BaseChannelLayer) -> None:
    """Messages arrive on every kind of channel."""
    async with layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send(channel, MESSAGE)
        await layer.group_send("room", MESSAGE)
        for _ in range(2):
            assert await asyncio.wait_for(layer.receive(channel), 10) == MESSAGE


@pytest.mark.parametrize("layer", LAYERS)
async def test_the_arguments_of_the_guide(layer: Any, sentinels: Trio) -> None:
    await exchange(
        layer(
            sentinels=sentinels.nodes[:2],
            service_name=SERVICE,
            sentinel_kwargs={"password": SENTINEL_PASSWORD},
            connection_kwargs={"password": SERVER_PASSWORD},
            prefix="prod",
            expiry=600,
            capacity=2000,
        )
    )


@pytest.mark.parametrize("layer", LAYERS)
async def test_an_entry_of_hosts(layer: Any, sentinels: Trio) -> None:
    await exchange(
        layer(
            hosts=[
                {
                    "sentinels": sentinels.nodes,
                    "master_name": SERVICE,
                    "sentinel_kwargs": {"password": SENTINEL_PASSWORD},
                    "password": SERVER_PASSWORD,
                }
            ]
        )
    )


@pytest.mark.parametrize("layer", LAYERS)
async def test_two_masters_may_share_the_load(layer: Any, sentinels: Trio, second_redis_url: str) -> None:
    await exchange(layer(hosts=[sentinels.host, second_redis_url], prefix="two"))


@pytest.mark.parametrize("which", ["sentinel_kwargs", "connection_kwargs"])
@pytest.mark.parametrize("layer", LAYERS)
async def test_without_either_password_nothing_is_sent(layer: Any, which: str, sentinels: Trio) -> None:
    options = {name: value for name, value in sentinels.options.items() if name != which}
    async with layer(**options, send_timeout=2) as layer:
        with pytest.raises(Exception, match=r"NOAUTH|already authenticated|Authentication required") as caught:
            await layer.send("jobs", MESSAGE)
    assert SERVER_PASSWORD not in str(caught.value)
    assert SENTINEL_PASSWORD not in str(caught.value)


@pytest.fixture(scope="module")
def behind(redis_server: ServerProcess) -> Iterator[dict[str, Any]]:
    """Options of a layer whose first Sentinel takes the replica for the master: it was cut off and knows no better."""
    with Trio() as trio, sentinel_of(trio.servers[1].port) as behind:
        yield {**trio.options, "sentinels": [(behind.host, behind.port), *trio.nodes]}


@pytest.mark.parametrize("layer", LAYERS)
async def test_a_sentinel_that_names_a_server_that_is_no_master_is_asked_last(
    layer: Any, behind: dict[str, Any]
) -> None:
    await exchange(layer(**behind))


@pytest.mark.parametrize("layer", LAYERS)
async def test_twin_a_sentinel_that_is_always_asked_first_is_believed_for_ever(
    layer: Any, behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "_first", property(lambda endpoint: 0, lambda endpoint, turn: None))
    async with layer(**behind, send_timeout=2) as layer:
        with pytest.raises(ServerUnreachable, match="it is a replica"):
            await layer.send("jobs", MESSAGE)


async def test_what_sentinels_said_before_a_connection_was_made_is_not_held_against_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was true then: a failover has come between."""
    for module in (topology, blocking_servers):
        monkeypatch.setattr(module, "ASK_AGAIN", 3600)
    with Trio() as trio:
        host = parse_hosts([trio.host])[0]
        endpoint, blocking = Endpoint(host), BlockingEndpoint(host)
        for connect in (endpoint_connects(endpoint), blocking_connects(blocking)):
            assert await connect() is None
        old = trio.master
        old.kill()
        await trio.failed_over(old)
        for connect in (endpoint_connects(endpoint), blocking_connects(blocking)):
            assert await connect() is None


def endpoint_connects(endpoint: Endpoint) -> Callable[[], Awaitable[str | None]]:
    """Connects, and tells which other master there is said to be."""

    async def connect() -> str | None:
        connection = await endpoint.connect(lambda push: None, lambda: None)
        another = await endpoint.another_master(connection)
        connection.close(ConnectionError("it has served"))
        return another

    return connect


def blocking_connects(endpoint: BlockingEndpoint) -> Callable[[], Awaitable[str | None]]:
    """The same in a thread."""

    def connect() -> str | None:
        deadline = time.monotonic() + PATIENCE
        connection = endpoint.connect(deadline)
        another = endpoint.another_master(connection, deadline)
        connection.close()
        return another

    return lambda: asyncio.to_thread(connect)
