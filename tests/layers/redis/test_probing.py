"""Whether a layer says that it cannot do its work, and that it can again."""

import asyncio
import time
from typing import Any

import pytest
from redis import Redis

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import ChannelLayerRegistry
from fast_channels.layers.readiness import Check
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis import layer as layer_module
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.probing import Probed, checks_of
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import layers_of, receiving
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

KINDS: list[type[Any]] = [RedisChannelLayer, RedisPubSubChannelLayer]
HEARS_WITH = {RedisChannelLayer: b"XREAD", RedisPubSubChannelLayer: b"SUBSCRIBE"}
SOON = Patience(send=1.0, ping_every=0.2, answer=0.4)
NEVER = Patience(ping_every=3600, answer=3600)
"""The link itself does not find out that it is deaf."""

each_kind = pytest.mark.parametrize("kind", KINDS)


async def until_ready(layer: Any) -> None:
    """Wait until it is, however long the machine takes."""
    async with asyncio.timeout(PATIENCE):
        while not await layer.ready():
            await asyncio.sleep(0.01)


async def until_it_says(layer: Any, reason: str) -> None:
    """Wait until it is not ready for this reason; a busy machine may be late for others."""
    async with asyncio.timeout(PATIENCE):
        while reason not in str(await layer.ready(timeout=0.2)):
            await asyncio.sleep(0.01)


DEAF = "what is sent to this process does not arrive"


@each_kind
async def test_a_layer_that_works_is_ready_and_says_so_fast(redis_url: str, kind: type[Any]) -> None:
    async with layers_of(kind, redis_url) as make:
        layer = make()
        assert (await layer.ready(PATIENCE)).problems == ()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        assert str(await layer.ready(PATIENCE)) == "ready"
        begun = time.perf_counter()
        for _ in range(20):
            assert await layer.ready(PATIENCE)
        assert (time.perf_counter() - begun) / 20 < 0.5  # some 0.5 ms, on a machine that has nothing else to do
        await layer.send(channel, {"type": "x"})
        assert await layer.receive(channel) == {"type": "x"}  # and the probes are nobody's messages
        assert not layer.statistics().dropped


@each_kind
@pytest.mark.parametrize("how", ["cut", "mute"])
async def test_a_layer_whose_listening_connection_alone_is_broken_is_not_ready(
    redis_url: str, proxy: Proxy, kind: type[Any], how: str
) -> None:
    async with layers_of(kind, proxy.url) as make:
        layer = make(patience=NEVER)
        await layer.new_channel()
        await until_ready(layer)
        proxy.mute(HEARS_WITH[kind])
        if how == "cut":
            proxy.cut_those(HEARS_WITH[kind])
        begun = time.monotonic()
        await until_it_says(layer, DEAF)
        assert time.monotonic() - begun < 10
        await layer.send("jobs", {"type": "x"})  # it sends as well as ever
        proxy.forward()
        proxy.cut_those(HEARS_WITH[kind])
        await until_ready(layer)


@each_kind
async def test_twin_whoever_asks_the_servers_alone_sees_nothing(
    proxy: Proxy, kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def servers_only(part: Probed, timeout: float) -> list[Check]:
        return checks_of(part, timeout)[1:2]

    monkeypatch.setattr(layer_module, "checks_of", servers_only)
    async with layers_of(kind, proxy.url) as make:
        layer = make(patience=NEVER)
        await layer.new_channel()
        await until_ready(layer)
        proxy.mute(HEARS_WITH[kind])
        proxy.cut_those(HEARS_WITH[kind])
        for _ in range(5):
            assert await layer.ready(PATIENCE)


@each_kind
async def test_a_layer_that_is_deaf_for_a_while_comes_back_by_itself(proxy: Proxy, kind: type[Any]) -> None:
    async with layers_of(kind, proxy.url) as make:
        layer = make(patience=SOON)
        await until_ready(layer)
        proxy.mute(HEARS_WITH[kind])
        await until_it_says(layer, DEAF)
        proxy.forward()
        await until_ready(layer)


@each_kind
async def test_a_server_that_is_away_is_named(own_server: ServerProcess, kind: type[Any]) -> None:
    async with layers_of(kind, own_server.url) as make:
        layer = make(patience=SOON)
        await until_ready(layer)
        own_server.stop()
        await until_it_says(layer, f"redis://127.0.0.1:{own_server.port}/0")
        own_server.start()
        await until_ready(layer)


@each_kind
async def test_one_of_several_servers_is_enough(redis_url: str, own_server: ServerProcess, kind: type[Any]) -> None:
    async with layers_of(kind, redis_url) as make:
        layer = make(patience=SOON, hosts=[redis_url, own_server.url])
        await until_ready(layer)
        own_server.pause()
        await until_it_says(layer, f"127.0.0.1:{own_server.port}/0")
        own_server.resume()
        await until_ready(layer)


@each_kind
async def test_it_takes_no_longer_than_it_may_and_raises_nothing(kind: type[Any]) -> None:
    async with layers_of(kind, "redis://127.0.0.1:1") as make:
        layer = make()
        begun = time.monotonic()
        states = await asyncio.gather(*(layer.ready(timeout=0.3) for _ in range(20)))
        assert time.monotonic() - begun < 5
        assert not any(states)


@each_kind
async def test_a_wrong_password_is_a_reason(own_server: ServerProcess, kind: type[Any]) -> None:
    with Redis(port=own_server.port) as admin:
        admin.config_set("requirepass", "secret")
    async with layers_of(kind, own_server.url) as make:
        state = await make().ready(PATIENCE)
        assert "NOAUTH" in str(state)


async def test_a_subscription_that_the_server_refuses(own_server: ServerProcess) -> None:
    with Redis(port=own_server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">x", "~*", "+@all", "&*|i|*")
        async with layers_of(RedisPubSubChannelLayer, own_server.url) as make:
            layer = make(hosts=[{"address": own_server.url, "username": "app", "password": "x"}])
            channel = await layer.new_channel()
            await until_ready(layer)
            with pytest.raises(FastChannelsError):
                await layer.group_add("room", channel)
            await until_ready(layer)  # who asked was told; nobody relies on it
            admin.execute_command("ACL", "SETUSER", "app", "allchannels")
            await layer.group_add("room", channel)
            admin.execute_command("ACL", "SETUSER", "app", "resetchannels", "&*|i|*")
            await until(lambda: layer.statistics().disconnections > 0)  # the server ends what it allows no more
            await until_it_says(layer, "1 subscriptions are not in force")


async def test_the_wakeups_of_shared_channels_are_looked_after(proxy: Proxy) -> None:
    async with layers_of(RedisChannelLayer, proxy.url) as make:
        layer = make(patience=NEVER)
        receiver = asyncio.create_task(layer.receive("jobs"))
        await until_ready(layer)
        await until(lambda: any(b"SSUBSCRIBE" in link.words for link in proxy._links))
        proxy.mute(b"SSUBSCRIBE")
        await until_it_says(layer, "is not heard: no answer")
        receiver.cancel()


@each_kind
async def test_cancelling_leaves_nothing_behind(redis_url: str, kind: type[Any]) -> None:
    async with layers_of(kind, redis_url) as make:
        layer = make()
        await until_ready(layer)
        before = len(asyncio.all_tasks())
        asking = asyncio.create_task(layer.ready())
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: len(asyncio.all_tasks()) == before)


async def test_a_registry_names_the_layer(redis_url: str) -> None:
    layers = ChannelLayerRegistry()
    async with layers_of(RedisPubSubChannelLayer, redis_url) as make:
        layers.register("chat", make())
        layers.register("jobs", make(hosts=["redis://127.0.0.1:1"]))
        state = await layers.ready(0.3)
        assert not state
        assert all(problem.startswith("jobs: ") for problem in state.problems)
        layers.unregister("jobs")
        assert await layers.ready(PATIENCE)


async def test_receiving_on_a_plain_channel_is_looked_after(proxy: Proxy) -> None:
    async with layers_of(RedisPubSubChannelLayer, proxy.url) as make:
        layer = make(patience=NEVER)
        receiver = await receiving(layer, "jobs")
        await until_ready(layer)
        proxy.mute(b"SUBSCRIBE")
        await until_it_says(layer, "is not heard: no answer")
        receiver.cancel()
