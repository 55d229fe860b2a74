"""What the tests of the contract have in common: the flags, the event loop, and how they wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from fast_channels.layers.base import BaseChannelLayer

__all__ = [
    "ContractTests",
    "MakeLayer",
    "contract_test",
    "drops",
    "eventually",
    "is_silent",
    "listen",
    "logged_by_layers",
    "message",
    "next_message",
    "next_messages",
    "skip_unless",
]

MakeLayer = Callable[..., BaseChannelLayer]
Result = TypeVar("Result")
Tests = TypeVar("Tests", bound="ContractTests")

PATIENCE = 10.0
"""Seconds after which what has not happened does not happen any more."""

SILENCE = 0.05
"""Seconds of nothing that stand for silence."""


class ContractTests:
    """Where layers differ. A subclass sets what its layer is, and provides the fixture `make_layer`."""

    shared_between_layers: bool = False
    """Whether two layers made by `make_layer` reach each other: their channels, their groups."""

    keeps_for_nobody: bool = True
    """Whether a message on a plain channel waits for the first receiver; otherwise, only who receives gets it."""

    plain_channels_reach_all: bool = False
    """Whether every layer that receives on a plain channel gets each message; otherwise, one of them does."""

    send_raises_channel_full: bool = True
    """Whether a direct send to a full channel raises `ChannelFull`; otherwise, the message is dropped and counted."""

    capacity_is_exact: bool = True
    """Whether concurrent senders together get no more than `capacity` messages accepted."""

    expires: bool = True
    """Whether a message older than `expiry` is never handed over."""

    carries_any_value: bool = False
    """Whether a message may be something else than a dict."""

    reads_ahead: bool = False
    """Whether `reader()` is the default one, which takes a message ahead for itself."""

    timeout: float = 30
    """Seconds that a test may take."""

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which a test runs: override it for another kind."""
        return asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run `coroutine` in a loop of its own. An error that nobody would see in that loop is raised."""
        unseen: list[dict[str, Any]] = []

        async def watched() -> Result:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
            return await asyncio.wait_for(coroutine, self.timeout)

        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            result = runner.run(watched())
        assert not unseen, f"errors that nobody saw: {unseen}"
        return result


def contract_test(test: Callable[[Tests, MakeLayer], Awaitable[None]]) -> Callable[[Tests, MakeLayer], None]:
    """Make a test of a coroutine function: it runs in a loop of its own, and the layers that it makes are closed."""

    async def run(self: Tests, make_layer: MakeLayer) -> None:
        async with AsyncExitStack() as stack:

            def make(**options: Any) -> BaseChannelLayer:
                layer = make_layer(**options)
                stack.push_async_callback(layer.close)
                return layer

            await test(self, make)

    def in_loop(self: Tests, make_layer: MakeLayer) -> None:
        self.run(run(self, make_layer))

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):  # no __wrapped__: that is a coroutine function
        setattr(in_loop, name, getattr(test, name))
    return in_loop


def skip_unless(flag: bool, reason: str) -> None:
    """Skip the test unless `flag`."""
    if not flag:
        pytest.skip(reason)


def message(number: int = 0, **more: Any) -> dict[str, Any]:
    """A message that can be told from others."""
    return {"type": "contract.test", "number": number, **more}


async def next_message(layer: BaseChannelLayer, channel: str) -> dict[str, Any]:
    """The next message, which must come."""
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


async def next_messages(layer: BaseChannelLayer, channel: str, count: int) -> list[Any]:
    """The numbers of the next `count` messages."""
    return [(await next_message(layer, channel))["number"] for _ in range(count)]


async def is_silent(layer: BaseChannelLayer, channel: str) -> bool:
    """Whether nothing comes."""
    receiving = asyncio.ensure_future(layer.receive(channel))
    done, _ = await asyncio.wait({receiving}, timeout=SILENCE)
    receiving.cancel()
    await asyncio.wait({receiving})
    if done:
        receiving.result()
    return not done


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"did not happen: {what}"
        await asyncio.sleep(0.002)


async def listen(receiver: BaseChannelLayer, sender: BaseChannelLayer, channel: str) -> None:
    """Return when what `sender` sends to the plain channel from now on reaches `receiver`."""
    first = asyncio.ensure_future(receiver.receive(channel))
    while not first.done():
        await sender.send(channel, message(-1))
        await asyncio.wait({first}, timeout=0.02)
    first.result()
    await sender.send(channel, message(-2))
    while (await next_message(receiver, channel))["number"] != -2:
        pass


def drops(layer: BaseChannelLayer, reason: str) -> int:
    """How many messages the layer has dropped for `reason`."""
    return layer.statistics().dropped.get(reason, 0)


@contextmanager
def logged_by_layers(level: int = logging.INFO) -> Iterator[list[logging.LogRecord]]:
    """The records of the library's loggers, from `level` on."""
    handler = _Records(level)
    logger = logging.getLogger("fast_channels")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
