"""Reading any layer's channel with no task of one's own: one message is taken ahead."""

import asyncio
from typing import Any

import pytest

from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.reader import EMPTY, ChannelReader, PumpedReader


class Source:
    """A `receive()` that is fed by the test."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.calls = 0

    async def receive(self) -> Any:
        self.calls += 1
        message = await self.queue.get()
        if isinstance(message, Exception):
            raise message
        return message


@pytest.fixture
async def source() -> Source:
    return Source()


async def next_of(reader: ChannelReader) -> Any:
    """As the contract shows it."""
    loop = asyncio.get_running_loop()
    while (message := reader.take()) is EMPTY:
        waiter = loop.create_future()
        reader.add_waiter(waiter)
        try:
            await waiter
        finally:
            reader.discard_waiter(waiter)
    return message


async def test_messages_come_in_order(source: Source) -> None:
    reader = PumpedReader(source.receive)
    for number in range(10):
        source.queue.put_nowait(number)
    assert [await next_of(reader) for _ in range(10)] == list(range(10))
    reader.close()


async def test_who_waits_is_woken(source: Source) -> None:
    reader = PumpedReader(source.receive)
    waiting = asyncio.create_task(next_of(reader))
    await asyncio.sleep(0)
    source.queue.put_nowait("late")
    assert await waiting == "late"
    reader.close()


async def test_none_is_a_message(source: Source) -> None:
    reader = PumpedReader(source.receive)
    source.queue.put_nowait(None)
    assert await next_of(reader) is None
    reader.close()


async def test_one_message_at_most_is_taken_ahead(source: Source) -> None:
    reader = PumpedReader(source.receive)
    for number in range(10):
        source.queue.put_nowait(number)
    assert reader.take() is EMPTY
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.queue.qsize() == 9
    reader.close()


async def test_nothing_is_received_before_somebody_asks(source: Source) -> None:
    PumpedReader(source.receive)
    await asyncio.sleep(0)
    assert source.calls == 0


async def test_a_waiter_that_gave_up_does_not_cost_the_message(source: Source) -> None:
    reader = PumpedReader(source.receive)
    waiter = asyncio.get_running_loop().create_future()
    reader.add_waiter(waiter)
    reader.discard_waiter(waiter)
    source.queue.put_nowait("kept")
    assert await next_of(reader) == "kept"
    assert not waiter.done()
    reader.close()


async def test_a_waiter_that_was_cancelled_does_not_cost_the_message(source: Source) -> None:
    reader = PumpedReader(source.receive)
    waiting = asyncio.create_task(next_of(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    source.queue.put_nowait("kept")
    assert await next_of(reader) == "kept"
    reader.close()


async def test_an_error_of_the_layer_reaches_the_reader_and_stays(source: Source) -> None:
    reader = PumpedReader(source.receive)
    source.queue.put_nowait("before")
    source.queue.put_nowait(ConnectionError("gone"))
    assert await next_of(reader) == "before"
    for _ in range(2):
        with pytest.raises(ConnectionError, match="gone"):
            await next_of(reader)
    assert source.calls == 2


async def test_a_closed_reader_receives_no_more(source: Source) -> None:
    reader = PumpedReader(source.receive)
    assert reader.take() is EMPTY
    await asyncio.sleep(0)
    reader.close()
    source.queue.put_nowait("stays")
    await asyncio.sleep(0)
    assert source.queue.qsize() == 1
    assert reader.take() is EMPTY


async def test_closing_is_idempotent_and_needs_no_reading(source: Source) -> None:
    reader = PumpedReader(source.receive)
    reader.close()
    reader.close()


async def test_any_layer_with_a_receive_has_a_reader() -> None:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    class Simple(BaseChannelLayer):
        async def receive(self, channel: str) -> dict[str, Any]:
            return {"channel": channel, **await queue.get()}

    reader = Simple().reader("jobs")
    queue.put_nowait({"n": 1})
    assert await next_of(reader) == {"channel": "jobs", "n": 1}
    reader.close()
