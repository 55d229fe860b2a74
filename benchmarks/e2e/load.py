"""The load client: WebSockets on picows, the cheapest client there is, in a process of its own.

It measures the servers' CPU from outside, and says how much it needed itself: what is measured must not be the client.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.program import PADDING, Load, Meter, measure, run

CONNECTING_AT_ONCE = 50
PROBE_SECONDS = 0.2
PROBES = 100
NAP_SECONDS = 0.0005

OnText = Callable[[int, bytes], None]


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ServersMeter(Meter):
    """Counts the CPU time of the server processes, and this client's beside it."""

    def __init__(self, servers: list[int], redis: int) -> None:
        super().__init__()
        self._servers = servers
        self._others = {"client_cores": os.getpid(), "redis_cores": redis}
        self._used: dict[str, float] = {}

    def cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, self._servers))

    def start(self) -> None:
        super().start()
        self._used = {name: cpu_seconds(pid) for name, pid in self._others.items()}

    def stop(self) -> None:
        super().stop()
        self._used = {name: cpu_seconds(pid) - self._used[name] for name, pid in self._others.items()}

    def result(self, count: int) -> dict[str, float]:
        cores = {name: used / self.wall for name, used in self._used.items()}
        return super().result(count) | cores | {"server_cores": self.cpu / self.wall}


class Client(WSListener):
    """One socket; hands its texts to a callback."""

    def __init__(self, index: int, on_text: OnText) -> None:
        super().__init__()
        self._index = index
        self.on_text = on_text
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.on_text(self._index, frame.get_payload_as_bytes())

    def send(self, text: str) -> None:
        self.transport.send(WSMsgType.TEXT, text.encode())


async def connect(urls: list[str], on_text: OnText) -> list[Client]:
    """A connected client for each address: one alone, because broadcaster loses some of the first who join at once."""

    async def one(index: int, url: str) -> Client:
        _, client = await ws_connect(lambda: Client(index, on_text), url, websocket_handshake_timeout=30)
        assert isinstance(client, Client)
        return client

    clients = [await one(0, urls[0])]
    for start in range(1, len(urls), CONNECTING_AT_ONCE):
        some = list(enumerate(urls))[start : start + CONNECTING_AT_ONCE]
        clients += await asyncio.gather(*(one(index, url) for index, url in some))
    return clients


async def settle(senders: list[Client], receivers: list[Client]) -> None:
    """Send probes until all receivers heard the same one: all have joined then, and nothing older is on its way."""
    heard: set[int] = set()
    probe = b""

    def on_text(index: int, text: bytes) -> None:
        if text == probe:
            heard.add(index)

    for receiver in receivers:
        receiver.on_text = on_text
    for number in range(PROBES):
        heard.clear()
        probe = f"probe {number}".encode()
        for sender in senders:
            sender.send(probe.decode())
        deadline = time.perf_counter() + PROBE_SECONDS
        while len(heard) < len(receivers) and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
        if len(heard) == len(receivers):
            return
    raise TimeoutError(f"{len(receivers) - len(heard)} of {len(receivers)} sockets never heard from their room")


async def nap() -> None:
    """Look at the sockets two thousand times a second only.

    A client that waits is woken by every message that is written to it, at the expense of the writer. Real clients are
    on other machines.
    """
    while True:
        await asyncio.sleep(0)
        time.sleep(NAP_SECONDS)  # noqa: ASYNC251


def payload(number: int) -> str:
    """120 bytes that begin with their number."""
    return f"{number:08d}{PADDING}"


async def room(parameters: dict[str, Any], servers: list[str], meter: Meter) -> dict[str, Any]:
    """Many sockets in one room, and others that take turns in sending to it. A delivery is one unit."""
    count = parameters["sockets"]
    load = Load(parameters["window"], count)
    receivers = await connect([f"{servers[-1]}/room/one"] * count, lambda index, text: None)
    senders = await connect([f"{servers[0]}/send/one"] * parameters["senders"], lambda index, text: None)
    await settle(senders[:1], receivers)
    napping = asyncio.create_task(nap())
    for receiver in receivers:
        receiver.on_text = lambda index, text: load.arrive(int(text[:8]), index)

    async def send(deadline: float) -> None:
        while time.perf_counter() < deadline:
            if load.full:
                await load.room()
            number = load.next_number()
            senders[number % len(senders)].send(payload(number))

    result = await measure(load, send, parameters["seconds"], meter)
    napping.cancel()
    return result


async def pairs(parameters: dict[str, Any], servers: list[str], meter: Meter) -> dict[str, Any]:
    """Clients with rooms of their own: each sends at the first server, and again when it received at the last one."""
    count = parameters["sockets"]
    load, awaited, until = Load(count + 1), [-1] * count, 0.0
    senders = await connect([f"{servers[0]}/send/room{n}" for n in range(count)], lambda index, text: None)
    receivers = await connect([f"{servers[-1]}/room/room{n}" for n in range(count)], lambda index, text: None)
    await settle(senders, receivers)

    def send_next(index: int) -> None:
        awaited[index] = load.next_number()
        senders[index].send(payload(awaited[index]))

    def on_text(index: int, text: bytes) -> None:
        number = int(text[:8])
        load.arrive(number)
        if number == awaited[index] and time.perf_counter() < until:
            send_next(index)

    for receiver in receivers:
        receiver.on_text = on_text

    async def send(deadline: float) -> None:
        nonlocal until
        until = deadline
        for index in range(count):
            send_next(index)
        await asyncio.sleep(deadline - time.perf_counter())

    return await measure(load, send, parameters["seconds"], meter)


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    meter = ServersMeter(parameters["pids"], parameters["redis_pid"])
    scenario = {"room": room, "pairs": pairs}[parameters["scenario"]]
    return await scenario(parameters, parameters["servers"], meter)


if __name__ == "__main__":
    run(main)
