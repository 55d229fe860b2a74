"""A command that is told to end, ends in order."""

import asyncio
import os
import signal

import pytest

from fast_channels.cli.running import run_with
from fast_channels.layers import BaseChannelLayer


class Layer(BaseChannelLayer):
    """Is told to end once more while it is closed."""

    is_closed = False

    async def close(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(3):  # turns in which a second cancellation would end this
            await asyncio.sleep(0.01)
        self.is_closed = True


async def until_told() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()


def test_a_second_signal_does_not_cut_off_the_end() -> None:
    layer = Layer()
    with pytest.raises(asyncio.CancelledError):
        run_with(until_told(), layer)
    assert layer.is_closed
