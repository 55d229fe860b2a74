"""A TCP proxy that breaks things on purpose, between a client and a real server.

It runs in a thread of its own, so that it goes on while a test's event loop is busy or closed. A method returns when
what it does is in force, for the connections there are and for those to come.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

__all__ = ["Proxy", "Side"]

Side = Literal["client", "server"]

WORD = re.compile(rb"(?:^|\n)\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n")
"""A command, as it begins on the wire."""

RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send a RST


class Proxy:
    """Forwards to `host:port`, until it is told to do something else.

    ```python
    with Proxy(server.port) as proxy:
        layer = RedisPubSubChannelLayer(hosts=[proxy.url])
        proxy.cut()
    ```
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.port = 0
        self.accepted = 0
        """Connections that were made since the start."""
        self.swallowed = 0
        """Bytes that went into the black hole or were dropped."""
        self.from_client = 0
        self.from_server = 0
        """Bytes that arrived from either side."""
        self._delay = 0.0
        self._blackhole = False
        self._muted = b""
        self._closed = False
        self._drop_replies = 0
        self._is_dropped: Callable[[bytes], bool] = bool
        self._reply_bytes_left: int | None = None
        self._links: set[_Link] = set()
        self._gates: dict[Side, asyncio.Event] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    # What it does

    def forward(self) -> None:
        """Be an honest proxy again. What was swallowed stays lost."""

        def change() -> None:
            self._delay, self._blackhole, self._closed = 0.0, False, False
            self._muted = b""
            self._drop_replies, self._reply_bytes_left = 0, None
            for gate in self._gates.values():
                gate.set()

        self._in_loop(change)

    def cut(self, *, reset: bool = False) -> None:
        """Close all connections now, on both sides; with `reset`, by a RST. New ones are welcome."""
        self._in_loop(lambda: self._cut_all(reset=reset))

    def close(self) -> None:
        """Close all connections now, and every new one as soon as it comes."""

        def change() -> None:
            self._closed = True
            self._cut_all(reset=False)

        self._in_loop(change)

    def blackhole(self) -> None:
        """Accept, read and swallow, in both directions: nobody gets an answer, and nobody an error."""
        self._in_loop(lambda: setattr(self, "_blackhole", True))

    def mute(self, word: bytes) -> None:
        """Be a black hole for connections whose client has said `word` (`SUBSCRIBE`), now or later; honest to others.

        What it said with the word itself is still handed on.
        """
        self._in_loop(lambda: setattr(self, "_muted", word))

    def cut_those(self, word: bytes) -> None:
        """Close the connections whose client has said `word`, on both sides. New ones are welcome."""

        def change() -> None:
            for link in tuple(self._links):
                if word in link.words:
                    link.cut()

        self._in_loop(change)

    def drop_reply(self, count: int = 1, which: Callable[[bytes], bool] = bool) -> None:
        """Forward requests, but swallow what the server sends next, `count` times, and cut that connection after it.

        With `which`, only pieces of at most 4096 bytes for which that is true.

        The server has done what it was asked to do, and the client does not know.
        """

        def change() -> None:
            self._drop_replies, self._is_dropped = count, which

        self._in_loop(change)

    def cut_reply_after(self, size: int) -> None:
        """Let `size` more bytes of what the server sends pass, and cut the connection there. Once."""
        self._in_loop(lambda: setattr(self, "_reply_bytes_left", size))

    def delay(self, seconds: float) -> None:
        """Hand everything on `seconds` later, in both directions, in order."""
        self._in_loop(lambda: setattr(self, "_delay", seconds))

    def stop_reading(self, side: Side) -> None:
        """Read no more of what `side` sends, until its own buffers are full."""
        self._in_loop(self._gates[side].clear)

    # Life

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _in_loop(self, change: Callable[[], object]) -> None:
        async def run() -> None:
            change()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        for side in ("client", "server"):
            gate = self._gates[side] = asyncio.Event()
            gate.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        assert self._server is not None
        self._closed = True
        self._server.close()
        for _ in range(3):  # a connection that was accepted just now gets its transport, which closes it
            await asyncio.sleep(0)
        self._cut_all(reset=False)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        _, tasks = await asyncio.wait(tasks, timeout=5) if tasks else (tasks, tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the next turn

    def _cut_if_closed(self) -> None:
        if self._closed:
            self._cut_all(reset=False)

    def _cut_all(self, *, reset: bool) -> None:
        for link in tuple(self._links):
            link.cut(reset=reset)

    # Connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._closed:
            writer.transport.abort()
            return
        try:
            upstream = await asyncio.open_connection(*self.target, limit=4096)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), upstream)
        self._links.add(link)
        self._cut_if_closed()  # meanwhile
        pumps = (self._pump(link, "client"), self._pump(link, "server"))
        tasks = [asyncio.ensure_future(ending) for ending in (*pumps, link.wait_ended())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._links.discard(link)
            link.cut()

    async def _pump(self, link: "_Link", side: Side) -> None:
        """Hand on what `side` sends, until it ends."""
        reader, chunks = link.reader(side), Chunks(maxsize=256)
        writing = asyncio.ensure_future(self._write(link.writer_to_other(side), chunks))
        try:
            end = False
            while not end:
                await self._gates[side].wait()
                data = await _read(reader)
                await self._gates[side].wait()
                end = not data
                if data:
                    data, end = self._through(link, side, data)
                    await chunks.put((self._loop.time() + self._delay, data))
            await chunks.put((self._loop.time() + self._delay, None))
            await writing
        finally:
            writing.cancel()

    async def _write(self, writer: asyncio.StreamWriter, chunks: "Chunks") -> None:
        """Write each when it is due, and one after the other; close after the last."""
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(due - self._loop.time())
            with suppress(OSError):
                if data is None:
                    writer.close()
                    return await writer.wait_closed()
                writer.write(data)
                await writer.drain()

    def _through(self, link: "_Link", side: Side, data: bytes) -> tuple[bytes, bool]:
        """What of `data` is handed on, and whether the connection ends after it."""
        is_muted = bool(self._muted) and self._muted in link.words
        if side == "client":
            self.from_client += len(data)
            link.words.update(WORD.findall(data))
        else:
            self.from_server += len(data)
        passed, end = (b"", False) if self._blackhole or is_muted else (data, False)
        if passed and side == "server":
            passed, end = self._reply(passed)
        self.swallowed += len(data) - len(passed)
        return passed, end

    def _reply(self, data: bytes) -> tuple[bytes, bool]:
        if self._drop_replies and self._is_dropped(data):
            self._drop_replies -= 1
            return b"", True
        left = self._reply_bytes_left
        if left is None:
            return data, False
        self._reply_bytes_left = left - len(data) if left > len(data) else None
        return data[:left], self._reply_bytes_left is None


Chunks = asyncio.Queue[tuple[float, bytes | None]]
"""What waits to be handed on: when it is due, and the data; None is the end."""


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(4096)
    except OSError:
        return b""


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """A connection of a client, and the one that was made to the server for it."""

    def __init__(self, client: Stream, server: Stream) -> None:
        self._streams: dict[Side, Stream] = {"client": client, "server": server}
        self.words: set[bytes] = set()
        """The commands that the client has said."""
        self.ended = asyncio.Event()

    def reader(self, side: Side) -> asyncio.StreamReader:
        return self._streams[side][0]

    def writer_to_other(self, side: Side) -> asyncio.StreamWriter:
        return self._streams["server" if side == "client" else "client"][1]

    async def wait_ended(self) -> None:
        await self.ended.wait()

    def cut(self, *, reset: bool = False) -> None:
        """Close both sides at once; what is not written yet is lost."""
        for _, writer in self._streams.values():
            if reset:
                sock = writer.get_extra_info("socket")
                with suppress(OSError):  # it was closed a moment ago
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        self.ended.set()
