import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fast_channels.consumer.pump import READ_AHEAD, FramePump
from tests.consumer.client import goodbye, other_tasks, text, turns, until


class Server:
    """A `receive` that counts its calls."""

    def __init__(self, *events: Any) -> None:
        self.events = list(events)
        self.calls = 0
        self.hung_up = asyncio.Event()
        self.may_hang_up = asyncio.Event()

    async def receive(self) -> Any:
        self.calls += 1
        if not self.events:
            await asyncio.Event().wait()
        event = self.events.pop(0)
        if isinstance(event, BaseException):
            raise event
        return event

    async def hang_up(self) -> None:
        self.hung_up.set()
        await self.may_hang_up.wait()


@pytest.fixture
async def pump() -> AsyncIterator[FramePump]:
    pump = FramePump()
    yield pump
    pump.stop()
    await pump.wait_closed(5)
    assert pump.closed
    assert not other_tasks()


async def test_frames_are_read_before_anybody_asks_for_them(pump: FramePump) -> None:
    server = Server(text("a"), text("b"))
    pump.start(server.receive, server.hang_up)
    await turns()
    assert server.calls == 3
    assert [pump.take(), pump.take()] == [text("a"), text("b")]
    assert not pump.over


async def test_at_most_sixteen_are_read_ahead(pump: FramePump) -> None:
    server = Server(*(text(str(number)) for number in range(100)))
    pump.start(server.receive, server.hang_up)
    await turns()
    assert server.calls == len(pump.frames) == READ_AHEAD == 16
    assert "16 frames ahead, reading" in repr(pump)
    read = []
    while server.events:
        read.append(pump.take()["text"])
        await turns(4)
        assert len(pump.frames) <= READ_AHEAD
    assert [*read, *(frame["text"] for frame in pump.frames)] == [str(number) for number in range(100)]


async def test_a_waiter_is_woken_by_a_frame_and_by_the_end(pump: FramePump) -> None:
    server = Server(text("a"), goodbye())
    server.may_hang_up.set()
    waiter = asyncio.get_running_loop().create_future()
    pump.waiter = waiter
    pump.start(server.receive, server.hang_up)
    await asyncio.wait_for(waiter, 5)
    assert waiter is not pump.waiter
    await until(lambda: pump.over)
    taken = [(pump.take(), pump.goodbye_taken), (pump.take(), pump.goodbye_taken)]
    assert taken == [(text("a"), False), (goodbye(), True)]
    assert "over" in repr(pump)


async def test_a_waiter_that_was_cancelled_meanwhile_is_no_error(pump: FramePump) -> None:
    server = Server(text("a"))
    pump.waiter = waiter = asyncio.get_running_loop().create_future()
    waiter.cancel()
    pump.start(server.receive, server.hang_up)
    await turns()
    assert pump.frames == [text("a")]


async def test_the_disconnect_is_a_frame_only_after_hanging_up(pump: FramePump) -> None:
    server = Server(text("a"), goodbye())
    pump.start(server.receive, server.hang_up)
    await asyncio.wait_for(server.hung_up.wait(), 5)
    assert pump.hanging_up
    assert pump.frames == [text("a")]
    server.may_hang_up.set()
    await until(lambda: pump.over)
    assert pump.frames == [text("a"), goodbye()]
    assert server.calls == 2  # nothing is read after it


async def test_stopping_lets_it_hang_up(pump: FramePump) -> None:
    server = Server(goodbye())
    pump.start(server.receive, server.hang_up)
    await asyncio.wait_for(server.hung_up.wait(), 5)
    pump.stop()
    await turns()
    assert other_tasks()
    server.may_hang_up.set()
    await until(lambda: pump.closed)
    assert pump.goodbye == goodbye()


async def test_what_receive_raises_waits_until_it_is_asked_for_and_is_raised_once(pump: FramePump) -> None:
    server = Server(text("a"), RuntimeError("broken"))
    pump.start(server.receive, server.hang_up)
    await until(lambda: pump.over)
    assert pump.frames == [text("a")]
    with pytest.raises(RuntimeError, match="broken"):
        pump.raise_failure()
    pump.raise_failure()


async def test_a_message_that_is_no_mapping_is_a_failure(pump: FramePump) -> None:
    server = Server("text")
    pump.start(server.receive, server.hang_up)
    await until(lambda: pump.over)
    with pytest.raises(AttributeError):
        pump.raise_failure()


async def test_the_cancellation_of_its_task_by_somebody_else_does_not_go_unnoticed(pump: FramePump) -> None:
    server = Server()
    pump.start(server.receive, server.hang_up)
    await turns()
    for task in other_tasks():
        task.cancel()
    await until(lambda: pump.over)
    with pytest.raises(asyncio.CancelledError):
        pump.raise_failure()


async def test_ending_it_adds_a_last_frame(pump: FramePump) -> None:
    server = Server(text("a"))
    pump.start(server.receive, server.hang_up)
    await turns()
    pump.end(goodbye=goodbye(1006))
    pump.end(goodbye=goodbye(1007))
    assert pump.frames == [text("a"), goodbye(1006)]
    await until(lambda: pump.closed)
    pump.raise_failure()


async def test_ending_it_with_a_failure_drops_what_was_read(pump: FramePump) -> None:
    server = Server(text("a"))
    pump.start(server.receive, server.hang_up)
    await turns()
    pump.end(failure=ZeroDivisionError())
    assert pump.frames == []
    with pytest.raises(ZeroDivisionError):
        pump.raise_failure()


async def test_waiting_for_the_end_has_an_end(pump: FramePump) -> None:
    release = asyncio.Event()

    async def stubborn() -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    pump.start(stubborn, Server().hang_up)
    await turns()
    pump.stop()
    await pump.wait_closed(0.01)
    assert not pump.closed
    release.set()


def test_a_pump_that_never_started_is_closed() -> None:
    pump = FramePump()
    assert pump.closed
    pump.stop()
