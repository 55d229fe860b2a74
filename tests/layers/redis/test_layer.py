"""What the Redis layers have in common: a part for each event loop, whatever becomes of the loops."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from fast_channels.exceptions import ForeignChannelError, MessageTooLarge
from fast_channels.layers.mailbox import SKIPPED
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis import layer as module
from fast_channels.layers.redis.cluster_servers import AnyServers
from fast_channels.layers.redis.layer import RedisLayer

KEY = "a key that nobody can guess"


class Part:
    """What a layer holds for one loop, and what is done with it."""

    servers: AnyServers

    def __init__(self, client: str) -> None:
        self.client = client
        self.loop = asyncio.get_running_loop()
        self.holds_channels = False
        self.adopted: list[str] = []
        self.closed_in: list[asyncio.AbstractEventLoop] = []
        self.abandoned = 0
        self.closing: asyncio.Event | None = None

    async def probe(self) -> None:
        raise NotImplementedError

    async def adopt(self, client: str, other: Self) -> None:
        self.adopted.append(client)

    async def close(self) -> None:
        self.closed_in.append(asyncio.get_running_loop())
        if self.closing is not None:
            await self.closing.wait()

    def abandon(self) -> None:
        self.abandoned += 1


class Layer(RedisLayer[Part]):
    def __init__(self, **options: Any) -> None:
        super().__init__(
            options.pop("hosts", None),
            options.pop("prefix", "asgi"),
            **{
                "expiry": 60,
                "capacity": 100,
                "channel_capacity": None,
                "symmetric_encryption_keys": None,
                "serializer_format": "msgpack",
                "sentinels": None,
                "service_name": None,
                "sentinel_kwargs": None,
                "connection_kwargs": None,
                "cluster": False,
                **options,
            },
        )

    def _make_part(self, client: str) -> Part:
        return Part(client)

    async def here(self) -> Part:
        return self._here()

    async def owns(self, client: str) -> bool:
        return await self._owns(client, self._here())


@pytest.fixture
def layer() -> Layer:
    return Layer()


def in_new_loop(layer: Layer, *, holds_channels: bool = False) -> Part:
    """The part of a loop that is closed by now."""
    part = asyncio.run(layer.here())
    part.holds_channels = holds_channels
    return part


@pytest.fixture
def other_loop() -> Iterator[Callable[[Any], Any]]:
    """Runs a coroutine in a loop of its own that goes on in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


# Parts


async def test_a_loop_has_one_part(layer: Layer) -> None:
    part = layer._here()
    assert layer._here() is part
    assert part.loop is asyncio.get_running_loop()
    assert part.client == layer.client_prefix


async def test_every_loop_has_a_client_of_its_own(layer: Layer, other_loop: Callable[[Any], Any]) -> None:
    here, there = layer._here(), other_loop(layer.here())
    assert here.client != there.client
    assert there.client == f"{layer.client_prefix}-1"
    assert other_loop(layer.here()) is there


def test_no_two_layers_share_a_client() -> None:
    assert Layer().client_prefix != Layer().client_prefix


def test_without_a_loop_there_is_no_part(layer: Layer) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        layer._here()


def test_parts_of_loops_that_are_closed_are_let_go(layer: Layer) -> None:
    parts = [in_new_loop(layer) for _ in range(5)]
    assert [part.abandoned for part in parts] == [1, 1, 1, 1, 0]
    assert len(layer._parts) == len(layer._clients) == 1


def test_many_threads_open_one_part_each(layer: Layer) -> None:
    started = threading.Barrier(8)
    parts: list[Part] = []

    async def open_part() -> None:
        started.wait(10)
        parts.append(layer._here())

    threads = [threading.Thread(target=lambda: asyncio.run(open_part())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({part.client for part in parts}) == 8


# Taking over


def test_channels_of_a_loop_that_is_closed_are_taken_over_once(layer: Layer) -> None:
    old = in_new_loop(layer, holds_channels=True)

    async def run() -> None:
        assert await layer.owns(old.client)
        assert await layer.owns(old.client)
        assert layer._here().adopted == [old.client]

    asyncio.run(run())


async def test_channels_of_a_loop_that_runs_stay_there(layer: Layer, other_loop: Callable[[Any], Any]) -> None:
    there = other_loop(layer.here())
    assert not await layer.owns(there.client)
    error = layer._foreign(f"specific.{there.client}!x")
    assert isinstance(error, ForeignChannelError)
    assert "another event loop of this process" in str(error)


async def test_a_client_that_nobody_knows_is_another_processs(layer: Layer) -> None:
    assert not await layer.owns("unknown")
    assert "another event loop" not in str(layer._foreign("specific.unknown!x"))


@pytest.mark.parametrize("count", range(8))
def test_loops_without_channels_are_forgotten_and_the_last_ones_with_channels_kept(
    layer: Layer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(module, "ADOPTABLE", 3)
    kept = [in_new_loop(layer, holds_channels=True) for _ in range(count)]
    empty = [in_new_loop(layer) for _ in range(4)]

    async def run() -> list[bool]:
        return [await layer.owns(part.client) for part in (*kept, *empty)]

    assert asyncio.run(run()) == [False] * max(0, count - 3) + [True] * min(count, 3) + [False] * 4


def test_what_was_taken_over_is_taken_over_again(layer: Layer) -> None:
    """From the loop that had taken it over, which is closed in its turn."""
    first = in_new_loop(layer, holds_channels=True)

    async def take_over() -> Part:
        assert await layer.owns(first.client)
        part = layer._here()
        part.holds_channels = True
        return part

    parts = [asyncio.run(take_over()) for _ in range(3)]
    assert [part.adopted for part in parts] == [[first.client]] * 3


# Closing


async def test_closing_closes_the_parts_of_all_loops_each_in_its_own(
    layer: Layer, other_loop: Callable[[Any], Any]
) -> None:
    here, there = layer._here(), other_loop(layer.here())
    await layer.close()
    await layer.close()
    assert here.closed_in == [here.loop] * 2
    assert there.closed_in == [there.loop] * 2


async def test_a_loop_that_does_not_run_is_not_waited_for(layer: Layer) -> None:
    loop = asyncio.new_event_loop()
    idle = await asyncio.to_thread(loop.run_until_complete, layer.here())
    await layer.close()
    assert idle.closed_in == []
    loop.close()
    await layer.close()
    assert idle.abandoned == 1


async def test_closing_forgets_what_loops_that_are_closed_had(layer: Layer) -> None:
    old = await asyncio.to_thread(in_new_loop, layer, holds_channels=True)
    await layer.close()
    assert old.abandoned == 1
    assert not await layer.owns(old.client)


def test_a_layer_that_is_closed_opens_again(layer: Layer) -> None:
    async def run() -> None:
        part = layer._here()
        await layer.close()
        assert layer._here() is part

    asyncio.run(run())


async def test_a_forked_child_has_another_identity(layer: Layer) -> None:
    part, client = layer._here(), layer.client_prefix
    layer._after_fork()  # as in the child
    assert layer.client_prefix != client
    assert layer._here() is not part
    assert not await layer.owns(client)
    assert part.closed_in == []
    assert part.abandoned == 0


# Messages


@pytest.mark.parametrize("keys", [None, [KEY]])
def test_a_message_comes_back_as_it_was(keys: list[str] | None) -> None:
    layer = Layer(symmetric_encryption_keys=keys)
    assert layer._decoded(layer._encode({"a": 1}, b"here"), b"here") == {"a": 1}
    assert layer.deserialize(layer.serialize({"a": 1})) == {"a": 1}


def test_a_message_that_is_too_large_is_refused(layer: Layer) -> None:
    layer.max_message_size = 10
    assert layer._encode({"a": "x" * 6}, b"")
    with pytest.raises(MessageTooLarge) as caught:
        layer._encode({"a": "x" * 7}, b"")
    assert (caught.value.size, caught.value.limit) == (11, 10)


@pytest.mark.parametrize("made", [bytearray(b"x"), "x", None, memoryview(b"x"), [1]])
def test_what_is_no_bytes_is_refused_at_the_call(made: Any) -> None:
    """It would stop the connection that others use as well."""

    class Strange(Layer):
        def serialize(self, message: Any) -> bytes:
            return made  # type: ignore[no-any-return]

    with pytest.raises(TypeError, match=f"^Strange must serialize a message to bytes, not {type(made).__name__}$"):
        Strange()._encode({}, b"")


def test_what_cannot_be_read_is_counted_and_a_flood_of_it_is_a_few_lines(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    assert {layer._decoded(b"\xc1", b"") is SKIPPED for _ in range(100)} == {True}
    assert layer.statistics().dropped == {"undecodable": 100}
    assert len(caplog.records) == 7
    assert caplog.messages[0].startswith("a message of layer asgi cannot be read (")


def test_what_was_encrypted_for_elsewhere_cannot_be_read() -> None:
    layer = Layer(symmetric_encryption_keys=[KEY])
    assert layer._decoded(layer._encode({}, b"here"), b"there") is SKIPPED


def test_a_subclass_reads_in_its_own_way() -> None:
    class Own(Layer):
        def deserialize(self, message: bytes) -> Any:
            return [message]

    assert Own()._decoded(b"x", b"") == [b"x"]


# Looking


@pytest.mark.parametrize("kind", [Layer, RedisChannelLayer, RedisPubSubChannelLayer])
def test_a_layer_shows_its_servers_and_no_password(kind: Callable[..., Any]) -> None:
    layer = kind(hosts=["redis://user:secret@one:1/2", ("two", 2)], prefix="mine")
    name = type(layer).__name__
    assert repr(layer) == f"<{name} 'mine' on redis://one:1/2, redis://two:2/0>"


async def test_a_layer_that_was_not_used_has_no_statistics(layer: Layer) -> None:
    statistics = layer.statistics()
    assert (statistics.sent, statistics.received, statistics.dropped) == (0, 0, {})
