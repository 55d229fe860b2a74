"""The bare limit of a send from a thread: one blocking round trip over a socket that is kept."""

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import hiredis

from benchmarks.program import PADDING, Load, run
from benchmarks.statistics import send_result


def round_trip(sock: socket.socket, reader: hiredis.Reader, payload: bytes) -> None:
    sock.sendall(hiredis.pack_command((b"PUBLISH", b"nobody", payload)))  # type: ignore[arg-type]
    while reader.gets() is False:
        reader.feed(sock.recv(65536))


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    url, load, times = urlsplit(parameters["url"]), Load(1), list[float]()
    reader = hiredis.Reader()
    with socket.create_connection((url.hostname, url.port)) as sock:
        deadline = time.perf_counter() + parameters["seconds"]
        while time.perf_counter() < deadline:
            number = load.next_number()
            began = time.perf_counter()
            round_trip(sock, reader, f"{number:08}{PADDING}".encode())
            times.append(time.perf_counter() - began)
            load.arrive(number)
    return send_result(load, times)


if __name__ == "__main__":
    run(main)
