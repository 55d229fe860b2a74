"""The communicator of any application."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from fast_channels.testing import ApplicationCommunicator

SCOPE = {"type": "test"}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes, until it is `stop`."""
    while (event := await receive())["type"] != "stop":
        await send(event)


async def fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise ZeroDivisionError("what the application raised")


async def cleans_up(scope: Any, receive: Any, send: Any) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await send({"type": "cleaned up"})


async def sends_and_returns(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "last"})


@asynccontextmanager
async def communicating(application: Any, **options: Any) -> AsyncIterator[ApplicationCommunicator]:
    communicator = ApplicationCommunicator(application, dict(SCOPE), **options)
    yield communicator
    communicator.stop(exceptions=False)


async def test_events_go_in_and_out() -> None:
    async with communicating(echo) as communicator:
        assert communicator.scope == SCOPE
        for number in range(3):
            await communicator.send_input({"type": "event", "number": number})
        assert [(await communicator.receive_output())["number"] for _ in range(3)] == [0, 1, 2]
        assert await communicator.receive_nothing()
        await communicator.send_input({"type": "stop"})
        await communicator.wait()


async def test_output_that_is_there_is_no_silence() -> None:
    async with communicating(echo) as communicator:
        await communicator.send_input({"type": "event"})
        assert not await communicator.receive_nothing()
        assert await communicator.receive_output() == {"type": "event"}


@pytest.mark.parametrize("options", [{}, {"cancel_on_timeout": False}])
async def test_an_exception_of_the_application_is_raised_by_whoever_meets_it(options: Any) -> None:
    async with communicating(fails, **options) as communicator:
        await communicator.send_input({"type": "event"})
        with pytest.raises(ZeroDivisionError):
            await communicator.receive_output(timeout=60)  # at once, not after the timeout
        for call in (communicator.receive_output, communicator.receive_nothing, communicator.wait):
            with pytest.raises(ZeroDivisionError):
                await call()
        with pytest.raises(ZeroDivisionError):
            await communicator.send_input({"type": "event"})
        with pytest.raises(ZeroDivisionError):
            communicator.stop()
        communicator.stop(exceptions=False)


async def test_an_application_that_fails_sends_nothing_more() -> None:
    async with communicating(fails) as communicator:
        await communicator.send_input({"type": "event"})
        assert await communicator.receive_nothing(timeout=60)
        with pytest.raises(ZeroDivisionError):
            await communicator.receive_nothing()


async def test_an_exception_is_raised_by_wait() -> None:
    async with communicating(fails) as communicator:
        await communicator.send_input({"type": "event"})
        with pytest.raises(ZeroDivisionError):
            await communicator.wait(timeout=60)


async def test_what_an_application_sent_before_it_returned_is_received() -> None:
    async with communicating(sends_and_returns) as communicator:
        await communicator.wait()
        assert await communicator.receive_output() == {"type": "last"}
        with pytest.raises(TimeoutError, match="has returned: it sends no more"):
            await communicator.receive_output(timeout=60)
        assert await communicator.receive_nothing(timeout=60)


async def test_a_timeout_cancels_the_application() -> None:
    async with communicating(cleans_up) as communicator:
        with pytest.raises(TimeoutError, match=r"sent nothing in 0.01 s"):
            await communicator.receive_output(timeout=0.01)
        assert communicator.cancelled
        assert await communicator.receive_output() == {"type": "cleaned up"}


async def test_calls_after_such_a_timeout_say_what_happened() -> None:
    async with communicating(echo) as communicator:
        with pytest.raises(TimeoutError):
            await communicator.receive_output(timeout=0.01)
        why = r"was cancelled: receive_output\(\) got nothing in 0.01 s \(cancel_on_timeout=False lets it run on\)"
        with pytest.raises(TimeoutError, match=why):
            await communicator.receive_output()
        with pytest.raises(TimeoutError, match=why):
            await communicator.send_input({"type": "event"})
        assert await communicator.receive_nothing()
        await communicator.wait()
        communicator.stop()


async def test_a_timeout_may_be_harmless() -> None:
    async with communicating(echo, cancel_on_timeout=False) as communicator:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await communicator.receive_output(timeout=0.01)
            with pytest.raises(TimeoutError, match=r"did not return in 0.01 s"):
                await communicator.wait(timeout=0.01)
        await communicator.send_input({"type": "event"})
        assert await communicator.receive_output() == {"type": "event"}
        assert not communicator.cancelled


async def test_an_application_that_does_not_return_in_time_is_cancelled() -> None:
    async with communicating(cleans_up) as communicator:
        await communicator.wait(timeout=0.01)
        assert communicator.cancelled
        assert await communicator.receive_output() == {"type": "cleaned up"}


async def test_an_exception_while_it_is_cancelled_is_raised() -> None:
    async def fails_late(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    for call in ("receive_output", "wait"):
        async with communicating(fails_late) as communicator:
            with pytest.raises(ZeroDivisionError):
                await getattr(communicator, call)(timeout=0.01)


async def test_stop_cancels() -> None:
    async with communicating(echo) as communicator:
        communicator.stop()  # nothing runs yet
        await communicator.send_input({"type": "event"})
        communicator.stop()
        await communicator.wait()
        assert communicator.cancelled
        assert communicator.future.cancelled()
        communicator.stop()


async def test_a_wait_that_is_cancelled_leaves_the_application_alone() -> None:
    async with communicating(echo) as communicator:
        for waiting in (communicator.wait(60), communicator.receive_output(60)):
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await communicator.send_input({"type": "event"})
        assert await communicator.receive_output() == {"type": "event"}


async def test_the_context_of_the_test_does_not_leak_into_the_application() -> None:
    variable = ContextVar("variable", default="unset")
    variable.set("set by the test")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": variable.get()})

    async with communicating(application) as communicator:
        assert await communicator.receive_output() == {"type": "unset"}


def test_a_communicator_that_is_forgotten_says_nothing() -> None:
    async def forget() -> None:
        await ApplicationCommunicator(echo, SCOPE).send_input({"type": "event"})

    asyncio.run(forget())
    with pytest.raises(TypeError):
        ApplicationCommunicator()  # type: ignore[call-arg]
    gc.collect()
