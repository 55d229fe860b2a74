"""A test that takes too long ends, also in a loop that loses what a signal handler raises."""

import asyncio
import signal
from collections.abc import Callable, Generator
from types import FrameType

import pytest

__all__ = ["pytest_timeout_set_timer"]

Handler = Callable[[int, FrameType | None], object]


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """Make the handler of SIGALRM, which raises, end what runs in a loop of uvloop too, by cancelling its tasks.

    uvloop runs handlers as callbacks, and gives what they raise to the loop's exception handler: nobody is stopped.
    """
    result = yield
    before = signal.getsignal(signal.SIGALRM)
    if callable(before):
        signal.signal(signal.SIGALRM, lambda number, frame: _ring(before, number, frame))
    return result


def _ring(before: Handler, number: int, frame: FrameType | None) -> None:
    loop = asyncio._get_running_loop()
    try:
        before(number, frame)
    except BaseException as error:
        if loop is None or isinstance(loop, asyncio.BaseEventLoop):
            raise
        for task in asyncio.all_tasks(loop):
            task.cancel(str(error))
