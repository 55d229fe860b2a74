"""The pages of the topologies: their servers start as they are configured there, and their layers work on them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from fast_channels.exceptions import OutcomeUnknown
from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, RedisChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.docs.pages import Block, Page
from tests.support.clusters import ClusterOfServers
from tests.support.sentinels import Trio

CLUSTER = "docs/topics/cluster.md"
SENTINEL = "docs/topics/sentinel.md"
SEVERAL = "docs/topics/several-hosts.md"
STANDALONE = "docs/topics/standalone.md"

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


async def run(page: Page, changes: dict[str, str]) -> list[BaseChannelLayer]:
    """Run the page with other addresses; the layers that each block has made."""
    made: list[BaseChannelLayer] = []
    for block in page.steps:
        code = block.code
        for old, new in changes.items():
            code = code.replace(old, new)
        await Block(block.page, block.line, block.language, code).run(page.namespace)
        made += [value for value in page.namespace.values() if isinstance(value, BaseChannelLayer)]
    return list(dict.fromkeys(made))


def directives(page: Page, name: str, changes: dict[str, str]) -> dict[str, list[str]]:
    """A file with a server's configuration."""
    text = dict(page.files)[name]
    for old, new in changes.items():
        text = text.replace(old, new)
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def serve(redis_server: ServerProcess) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers as a page configures them."""
    with ExitStack() as stack:

        def serve(config: dict[str, list[str]], *arguments: str) -> ServerProcess:
            server = ServerProcess(config, binary=redis_server.binary, arguments=arguments)
            return stack.enter_context(server)

        yield serve


async def test_the_layers_of_the_page_on_sentinel_work_on_its_servers(
    serve: Callable[..., ServerProcess], channel_layers: ChannelLayerRegistry
) -> None:
    page = Page(SENTINEL)
    master = serve(directives(page, "master.conf", {}))
    here = {"10.0.0.1 6379": f"127.0.0.1 {master.port}"}
    serve(directives(page, "replica.conf", here))
    sentinels = [serve(directives(page, "sentinel.conf", here), "--sentinel") for _ in range(3)]
    changes = {
        f'"sentinel-{number}.example.com", 26379': f'"127.0.0.1", {sentinel.port}'
        for number, sentinel in enumerate(sentinels, start=1)
    }
    made = [*await run(page, changes), channel_layers["ha_layer"]]
    assert len(made) == 3
    for layer in made:
        if getattr(layer, "durability", "") == "replicated":
            await with_a_replica(layer)
        await exchange(layer)


async def with_a_replica(layer: BaseChannelLayer) -> None:
    """Wait until a send is confirmed: the replica may be on its way."""
    async with asyncio.timeout(20):
        while True:
            with suppress(OutcomeUnknown):
                return await layer.send("jobs", MESSAGE)


async def test_the_layers_of_the_page_on_several_hosts_work(
    redis_url: str, second_redis_url: str, sentinels: Trio
) -> None:
    changes = {
        "redis://redis-1.example.com:6379": redis_url,
        "redis://redis-2.example.com:6379": second_redis_url,
        'master_name": name': 'master_name": "mymaster"',
        **{
            f'"sentinel-{number}.example.com", 26379': f'"{host}", {port}'
            for number, (host, port) in enumerate(sentinels.nodes, start=1)
        },
    }
    made = await run(Page(SEVERAL), changes)
    assert len(made) == 3
    for layer in made:
        await exchange(layer)


async def test_the_layers_of_the_page_on_a_cluster_work_on_its_nodes(
    redis_server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page(CLUSTER)
    config = {key: values[0] for key, values in directives(page, "node.conf", {}).items()}
    with ClusterOfServers(3, replicas=1, config=config, binary=redis_server.binary) as cluster:
        changes = {f"redis://node-{number}.example.com:6379": cluster.urls[number] for number in (1, 2)}
        made = await run(page, changes)
        assert len(made) == 3
        for layer in made:
            await exchange(layer)
    assert "cannot keep what the queue promises" not in caplog.text


async def test_the_server_of_the_page_on_one_server_can_keep_what_the_queue_promises(
    serve: Callable[..., ServerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(directives(Page(STANDALONE), "server.conf", {}))
    layer = RedisChannelLayer(hosts=[{"address": server.url, "password": "redis_password"}])
    await exchange(layer)
    assert "cannot keep what the queue promises" not in caplog.text


async def test_the_layers_of_the_page_on_one_server_work(
    redis_url: str, channel_layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    await run(Page(STANDALONE), {})
    for alias in ("chat", "jobs"):
        await exchange(channel_layers[alias])
