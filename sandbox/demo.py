"""The processes of the demo: a Redis server, two web servers, two workers, and a clock that is neither."""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from sandbox import control, store
from sandbox.processes import Child, ChildFailed, Family
from sandbox.rooms import LOBBY
from sandbox.supervisor import Place, Supervisor
from sandbox.valkey import shown, start_valkey, start_valkey_at
from sandbox.web import fetch

__all__ = ["Demo", "Server", "running", "start_server"]

SERVERS = ("server 1", "server 2")
WORKERS = ("worker 1", "worker 2")


@dataclass(frozen=True)
class Server:
    """A web server of the demo; `address` is where its page is."""

    address: str
    place: Place

    @property
    def pid(self) -> int:
        """The process that serves there now."""
        return self.place.pid


@dataclass(frozen=True)
class Demo:
    """What runs."""

    redis: str
    servers: Sequence[Server]
    workers: Sequence[Place]
    clock: Place

    def __str__(self) -> str:
        address = self.servers[0].address
        pages = "\n".join(
            f"  {server.place.name.capitalize():9} {server.address}  (pid {server.pid})" for server in self.servers
        )
        workers = "\n".join(f"  {place.name.capitalize():9} takes jobs  (pid {place.pid})" for place in self.workers)
        return f"""
  Redis     {self.redis}
{pages}
{workers}
  Clock     says the time in the lobby  (pid {self.clock.pid})

  Open the addresses of both servers side by side: what you do at one appears at the other. Or post something:

  curl {address}/api/rooms/{LOBBY}/messages -H 'content-type: application/json' -d '{{"text": "Hello"}}'

  A room as a WebSocket: {address.replace("http", "ws", 1)}/ws/chat/{LOBBY}
"""


@dataclass
class Setting:
    """Where the demo runs: its family, its folder, and what every process finds in its environment."""

    family: Family
    supervisor: Supervisor
    folder: Path
    control_fd: int
    env: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def running(family: Family, folder: Path) -> AsyncIterator[tuple[Demo, Supervisor]]:
    """Start everything; both servers answer when the block begins. `Supervisor.run()` must run within it.

    What the processes write to disk is in `folder`, which outlives the family.
    """
    async with AsyncExitStack() as stack:
        control_fd, commands = await stack.enter_async_context(control.commands())
        setting = Setting(family, Supervisor(family, commands), folder, control_fd)
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in SERVERS]
        yield await start_demo(setting, listeners), setting.supervisor


async def start_demo(setting: Setting, listeners: Sequence[socket.socket]) -> Demo:
    """Start everything; both servers answer when this returns."""
    url, origin, killable = await redis_url(setting)
    setting.env |= {
        "REDIS_URL": url,
        "SANDBOX_ID": uuid4().hex[:8],
        "SANDBOX_STORE": str(setting.folder / "store.sqlite"),
        "SANDBOX_SERVERS": " ".join(map(address_of, listeners)),
        control.NAMES: ",".join((*SERVERS, *WORKERS, "clock", *killable)),
    }
    store.prepare(setting.folder / "store.sqlite")
    servers = [await fill_server(setting, name, listener) for name, listener in zip(SERVERS, listeners, strict=True)]
    workers = [await fill(setting, name, "sandbox.worker") for name in WORKERS]
    for server in servers:
        await ready(setting.family, server.address, server.place.child)
    clock = await fill(setting, "clock", "sandbox.sender")
    return Demo(f"{shown(url)}  ({origin})", servers, workers, clock)


async def redis_url(setting: Setting) -> tuple[str, str, list[str]]:
    """The URL of the Redis server to use, where it comes from, in words, and the name of its place, if it has one."""
    url = os.getenv("REDIS_URL")
    if url:
        return url, "from REDIS_URL", []
    family, folder = setting.family, setting.folder
    url, child = await start_valkey(family, folder, needed=False)
    port = int(url.rpartition(":")[2])
    setting.supervisor.take(Place("valkey", lambda: start_valkey_at(family, port, folder, needed=False), child))
    return url, f"an embedded Valkey, pid {child.pid}", ["valkey"]


async def fill(setting: Setting, name: str, module: str) -> Place:
    """Start a process that is no server."""
    env = {**setting.env, "SANDBOX_NAME": name}
    return await setting.supervisor.fill(name, lambda: setting.family.start_python(name, module, env=env, needed=False))


async def fill_server(setting: Setting, name: str, listener: socket.socket) -> Server:
    """Start a web server on `listener`, which stays open here: while there is no server, who connects waits for it."""
    env = {**setting.env, control.FD: str(setting.control_fd)}
    place = await setting.supervisor.fill(
        name, lambda: start_server(setting.family, name, listener, env, [setting.control_fd])
    )
    return Server(address_of(listener), place)


async def start_server(
    family: Family, name: str, listener: socket.socket, env: dict[str, str], pass_fds: Sequence[int] = ()
) -> Child:
    """Start a web server on `listener`."""
    port = str(listener.getsockname()[1])
    return await family.start_python(
        name,
        "sandbox.server",
        str(listener.fileno()),
        env={**env, "SANDBOX_NAME": name, "SANDBOX_PORT": port},
        pass_fds=[listener.fileno(), *pass_fds],
        needed=False,
    )


async def ready(family: Family, address: str, child: Child) -> None:
    """Wait until the server at `address` answers and reaches its Redis server."""
    await family.ready(child, lambda: complaint(address, child))


async def complaint(address: str, child: Child) -> str:
    """Why the server at `address` does not answer; nothing if it does.

    Raises:
        ChildFailed: it answers that it is not well. It has waited for its Redis server, so there is no use in asking
            again.
    """
    try:
        status, answer = await fetch(f"{address}/health")
    except OSError as error:
        return str(error)
    if status != 200:
        raise ChildFailed(child, f"is not well: {answer['detail']}")
    return ""


def address_of(listener: socket.socket) -> str:
    """The address of the page that is served on `listener`."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
