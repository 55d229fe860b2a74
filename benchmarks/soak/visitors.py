"""Clients that come, say something, hear it, and go: half of them with a word, the others without."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

__all__ = ["Visits", "visit_again_and_again"]

PATIENCE = 30.0
"""Seconds to wait for anything: what is not there then is lost."""

ROOMS = 20


@dataclass(slots=True)
class Visits:
    """What came of the visits until now."""

    done: int = 0
    failed: list[str] = field(default_factory=list)
    """What went wrong, the first hundred."""

    def fail(self, error: Exception) -> None:
        """Count a visit that failed."""
        if len(self.failed) < 100:
            self.failed.append(repr(error))


class Visitor(WSListener):
    """A client that waits for two texts among all that it hears."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._missing = {f"direct {text}", f"room {text}"}
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        self._missing.discard(frame.get_payload_as_utf8_text())
        if not self._missing and not self.heard.done():
            self.heard.set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self.heard.done():
            self.heard.set_exception(ConnectionError(f"disconnected before it heard {self._missing}"))


async def visit(address: str, text: str, *, politely: bool) -> None:
    """Come, say `text`, hear it twice, and go."""
    url = f"{address}/visit/room-{random.randrange(ROOMS)}"
    transport, visitor = await ws_connect(lambda: Visitor(text), url, websocket_handshake_timeout=PATIENCE)
    assert isinstance(visitor, Visitor)
    transport.send(WSMsgType.TEXT, text.encode())
    async with asyncio.timeout(PATIENCE):
        await visitor.heard
    if politely:
        transport.send_close(WSCloseCode.OK)
    transport.disconnect(graceful=politely)
    async with asyncio.timeout(PATIENCE):
        await transport.wait_disconnected()


async def visit_again_and_again(address: str, who: int, until: float, visits: Visits) -> None:
    """One visit after another, until that time."""
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            await visit(address, f"{who}-{number}", politely=number % 2 == 0)
            visits.done += 1
        except Exception as error:
            visits.fail(error)
            await asyncio.sleep(0.1)
