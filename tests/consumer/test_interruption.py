import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fast_channels.consumer.interruption import InterruptibleDispatch


class Handler:
    """A dispatch that waits, and then does as it is told."""

    def __init__(self, then: Callable[[], Awaitable[None]] | None = None) -> None:
        self.started = asyncio.Event()
        self.interrupted = False
        self._then = then

    async def __call__(self, message: object) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.interrupted = True
            if self._then is None:
                raise
            await self._then()


async def nothing() -> None:
    """A handler that swallows its cancellation."""


async def run(handler: Handler, during: Callable[[InterruptibleDispatch], None]) -> tuple["asyncio.Task[None]", int]:
    """Dispatch in a task of its own, call `during` while the handler waits; the task and its cancellations after it."""
    made: list[InterruptibleDispatch] = []
    cancellations = -1

    async def serve() -> None:
        nonlocal cancellations
        made.append(InterruptibleDispatch(handler))
        await made[0]({})
        task = asyncio.current_task()
        assert task is not None
        cancellations = task.cancelling()

    task = asyncio.create_task(serve())
    await handler.started.wait()
    during(made[0])
    await asyncio.wait((task,))
    return task, cancellations


async def test_an_interrupted_handler_is_cancelled_and_its_task_is_not() -> None:
    task, cancellations = await run(handler := Handler(), lambda dispatch: dispatch.interrupt())
    assert handler.interrupted
    assert not task.cancelled()
    assert cancellations == 0


async def test_a_handler_that_swallows_it_leaves_no_cancellation_behind() -> None:
    task, cancellations = await run(Handler(then=nothing), lambda dispatch: dispatch.interrupt())
    assert not task.cancelled()
    assert cancellations == 0


async def test_what_a_handler_raises_instead_goes_through() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    task, _ = await run(Handler(then=fail), lambda dispatch: dispatch.interrupt())
    assert isinstance(task.exception(), ZeroDivisionError)


async def test_interrupting_twice_is_interrupting_once() -> None:
    def twice(dispatch: InterruptibleDispatch) -> None:
        dispatch.interrupt()
        dispatch.interrupt()

    task, cancellations = await run(Handler(), twice)
    assert not task.cancelled()
    assert cancellations == 0


@pytest.mark.parametrize("interrupted_too", ["before", "after", ""])
async def test_a_cancellation_by_somebody_else_goes_through(interrupted_too: str) -> None:
    handler = Handler()
    tasks: list[asyncio.Task[None]] = []

    async def serve() -> None:
        dispatch = InterruptibleDispatch(handler)
        tasks.append(asyncio.create_task(cancel(dispatch, asyncio.current_task())))
        await dispatch({})

    async def cancel(dispatch: InterruptibleDispatch, task: "asyncio.Task[None] | None") -> None:
        await handler.started.wait()
        assert task is not None
        if interrupted_too == "before":
            dispatch.interrupt()
        task.cancel()
        if interrupted_too == "after":
            dispatch.interrupt()

    task = asyncio.create_task(serve())
    await asyncio.wait((task,))
    await asyncio.gather(*tasks)
    assert task.cancelled()
    assert task.cancelling() == 1


async def test_handlers_that_begin_later_are_cancelled_where_they_wait() -> None:
    done: list[tuple[str, Any]] = []

    async def handler(message: Any) -> None:
        done.append(("begins", message["number"]))
        if message["waits"]:
            await asyncio.sleep(0)
        done.append(("ends", message["number"]))

    dispatch = InterruptibleDispatch(handler)
    dispatch.interrupt()
    for number, waits in enumerate([True, False, True]):
        await dispatch({"number": number, "waits": waits})
    await asyncio.sleep(0)
    assert done == [("begins", 0), ("begins", 1), ("ends", 1), ("begins", 2)]
    await dispatch({"type": "websocket.disconnect", "number": 3, "waits": True})
    assert done[-1] == ("ends", 3)


async def test_without_an_interruption_handlers_run_as_ever() -> None:
    done = []

    async def handler(message: object) -> None:
        await asyncio.sleep(0)
        done.append(message)

    dispatch = InterruptibleDispatch(handler)
    messages: list[Any] = [None, {"number": 2}]  # a layer may carry any value
    for message in messages:
        await dispatch(message)
    assert done == messages
