"""How a consumer ends: its groups are left, its `disconnect()` runs, its tasks are gone. Whatever happened."""

import asyncio
import logging
from typing import Any

from fast_channels.consumer.codes import ABNORMAL, FAILED, NORMAL
from fast_channels.consumer.connection import Connection
from fast_channels.consumer.sending import ClientGone
from fast_channels.exceptions import StopConsumer

__all__ = ["finish"]

logger = logging.getLogger("fast_channels.consumer")

CANCELLED_SECONDS = 5.0
"""How long a consumer whose task was cancelled may take to end."""


async def finish(connection: Connection, error: BaseException | None) -> None:
    """End `connection`, whose dispatcher has returned or raised `error`. Returns at once where nothing is left to do.

    What is left runs in a task of its own, which a cancellation of this one cuts short only after 5 seconds.

    Raises:
        asyncio.CancelledError: this task was cancelled meanwhile.
        Exception: `disconnect()` raised it and there was no `error`; beside an `error` it is logged.
    """
    connection.stop()
    try:
        if not (connection.settled and connection.said_goodbye):
            await _finish(connection, error)
    finally:
        connection.forget()


async def _finish(connection: Connection, error: BaseException | None) -> None:
    cleaning = connection.task = asyncio.get_running_loop().create_task(_clean_up(connection, error))
    cancelled = isinstance(error, asyncio.CancelledError)
    if await _outlast_cancellation(cleaning, cancelled=cancelled) and not cancelled:
        raise asyncio.CancelledError
    try:
        if cleaning.done() and not cleaning.cancelled():
            cleaning.result()
    finally:
        del cleaning  # it holds the error, whose traceback holds this frame


async def _clean_up(connection: Connection, error: BaseException | None) -> None:
    await connection.wait_closed()
    if connection.said_goodbye:
        return
    try:
        await connection.disconnect(_close_code(connection, error))
    except (StopConsumer, ClientGone):
        pass
    except Exception:
        if error is None:
            raise
        logger.exception("disconnect() of %s failed, after an error that is raised", type(connection.consumer).__name__)


def _close_code(connection: Connection, error: BaseException | None) -> int:
    """What `disconnect()` is told: how the client left, or else why the consumer did."""
    if error is not None and not isinstance(error, asyncio.CancelledError):
        return FAILED
    if connection.closed_by_client is not None:
        return connection.closed_by_client
    if error is not None:
        return ABNORMAL
    return NORMAL if connection.close_code is None else connection.close_code


async def _outlast_cancellation(task: "asyncio.Task[Any]", *, cancelled: bool) -> bool:
    """Wait for `task`, and from the moment that this one is `cancelled`, for 5 seconds more. Whether it was meanwhile.

    Some frameworks (anyio's) cancel a task again and again until it ends: each is outlasted.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CANCELLED_SECONDS if cancelled else None
    again = False
    while not task.done():
        patience = None if deadline is None else deadline - loop.time()
        if patience is not None and patience <= 0:
            logger.warning("a consumer that was cancelled did not end in %g s: %r", CANCELLED_SECONDS, task)
            task.cancel()
            break
        try:
            await asyncio.wait((task,), timeout=patience)
        except asyncio.CancelledError:
            again = True
            deadline = deadline or loop.time() + CANCELLED_SECONDS
    return again
