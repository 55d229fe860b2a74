"""A server that becomes the replica of another one keeps its connections, and says nothing by itself."""

import asyncio
from collections.abc import Iterator

import pytest
import redis

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.redis import RedisPubSubChannelLayer, link
from fast_channels.layers.redis.topology import is_replica
from fast_channels.testing.server import ServerProcess


@pytest.fixture
def demotable() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


def demote(server: ServerProcess, master: ServerProcess | None) -> None:
    with redis.Redis(port=server.port) as client:
        if master is None:
            client.replicaof("NO", "ONE")
        else:
            client.replicaof("127.0.0.1", str(master.port))


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        ({b"role": b"master"}, False),
        ({b"role": b"replica"}, True),
        ({b"role": b"slave"}, True),
        ({}, False),
        (None, False),
        (b"PONG", False),
    ],
)
def test_a_greeting_says_whether_a_server_is_a_replica(greeting: object, expected: bool) -> None:
    assert is_replica(greeting) is expected


async def test_a_master_that_is_demoted_is_left_and_the_gap_is_reported(
    demotable: ServerProcess, redis_server: ServerProcess
) -> None:
    loop = asyncio.get_running_loop()
    back: asyncio.Future[float] = loop.create_future()

    def on_reconnect(layer: RedisPubSubChannelLayer) -> None:
        back.set_result(loop.time())

    async with RedisPubSubChannelLayer([demotable.url], on_reconnect=on_reconnect, send_timeout=1) as layer:
        channel = await layer.new_channel()
        demoted_at = loop.time()
        demote(demotable, redis_server)
        async with asyncio.timeout(20):
            while not layer.statistics().disconnections:
                await asyncio.sleep(0.05)
        with pytest.raises(ServerUnreachable):
            await layer.send(channel, {"type": "too.early"})
        demote(demotable, None)
        back_at = await asyncio.wait_for(back, 20)
        assert layer.last_gap is not None
        assert layer.last_gap.seconds >= back_at - demoted_at - 0.1  # since the demotion, not since its discovery
        await layer.send(channel, {"type": "again"})
        assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "again"}


async def test_without_the_question_nobody_notices_the_demotion(
    demotable: ServerProcess, redis_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: what is sent at the new master does not arrive at who listens at the old one, and nothing tells."""
    monkeypatch.setattr(link, "is_replica", lambda greeting: False)
    async with (
        RedisPubSubChannelLayer([demotable.url]) as old,
        RedisPubSubChannelLayer([redis_server.url]) as new,
    ):
        channel = await old.new_channel()
        await old.group_add("room", channel)
        demote(demotable, redis_server)
        await new.group_send("room", {"type": "lost"})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(old.receive(channel), 6)
        assert not old.statistics().disconnections
        assert old.last_gap is None


async def test_a_replica_is_refused_from_the_beginning(demotable: ServerProcess, redis_server: ServerProcess) -> None:
    demote(demotable, redis_server)
    async with RedisPubSubChannelLayer([demotable.url], send_timeout=3) as layer:
        with pytest.raises(ServerUnreachable, match="it is a replica"):
            await layer.new_channel()
