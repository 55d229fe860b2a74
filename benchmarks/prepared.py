"""A client whose messages are all there already: `receive()` never suspends.

Runs in every environment: standard library only.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from benchmarks.program import Load, Meter
from benchmarks.sockets import scope

__all__ = ["Prepared", "dispatch_result"]


def _messages(count: int) -> Iterator[dict[str, Any]]:
    yield {"type": "websocket.connect"}
    for number in range(count):
        yield {"type": "websocket.receive", "text": str(number)}
    while True:
        yield {"type": "websocket.disconnect", "code": 1000}


class Prepared:
    """What a server would hand to an application, with `count` messages from its client; `got` is what came of them."""

    def __init__(self, count: int) -> None:
        self.scope = scope()
        self.got: list[str | None] = []
        self._messages = iter([message for message, _ in zip(_messages(count), range(count + 16), strict=False)])

    async def receive(self) -> dict[str, Any]:
        return next(self._messages)

    async def send(self, message: Mapping[str, Any]) -> None:
        pass


async def dispatch_result(application: Callable[[Prepared], Awaitable[None]], count: int) -> dict[str, Any]:
    """Run `application` on a tenth of `count` messages to warm up, then on all of them, and check what it got."""
    await application(Prepared(count // 10))
    prepared, meter = Prepared(count), Meter()
    meter.start()
    await application(prepared)
    meter.stop()
    load = Load(count)
    load.sent = count
    for text in prepared.got:
        load.arrive(int(text or -1))
    return meter.result(count) | {"lost": load.lost(), "duplicated": load.duplicated()}
