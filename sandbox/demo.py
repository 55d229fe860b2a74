"""The processes of the demo: a Redis server, two web servers, and a sender that is no server."""

import socket
from dataclasses import dataclass

from sandbox.processes import Child, ChildFailed, Family
from sandbox.rooms import LOBBY
from sandbox.valkey import redis_url, shown
from sandbox.web import fetch

__all__ = ["Demo", "Server", "start_demo", "start_server"]


@dataclass(frozen=True)
class Server:
    """A web server of the demo; `address` is where its page is."""

    address: str
    child: Child


@dataclass(frozen=True)
class Demo:
    """What runs."""

    redis: str
    servers: tuple[Server, Server]
    sender: Child

    def __str__(self) -> str:
        first, second = self.servers
        return f"""
  Redis     {self.redis}
  Server 1  {first.address}  (pid {first.child.pid})
  Server 2  {second.address}  (pid {second.child.pid})
  Sender    says the time in the lobby  (pid {self.sender.pid})

  Open the addresses of both servers side by side: what you type at one appears at the other. Or post something:

  curl {first.address}/api/rooms/{LOBBY}/messages -H 'content-type: application/json' -d '{{"text": "Hello"}}'
"""


async def start_demo(family: Family) -> Demo:
    """Start everything; both servers answer when this returns."""
    url, origin = await redis_url(family)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [address_of(listener) for listener in listeners]
    env = {"REDIS_URL": url, "SANDBOX_SERVERS": " ".join(addresses)}
    first, second = [
        await start_server(family, f"server {number}", listener, env) for number, listener in enumerate(listeners, 1)
    ]
    for server in (first, second):
        await ready(family, server)
    sender = await family.start_python("sender", "sandbox.sender", env=env)
    return Demo(f"{shown(url)}  ({origin})", (first, second), sender)


async def start_server(family: Family, name: str, listener: socket.socket, env: dict[str, str]) -> Server:
    """Start a web server on `listener`, which is closed here: only the server has it then."""
    with listener:
        child = await family.start_python(
            name, "sandbox.server", str(listener.fileno()), env=env, pass_fds=[listener.fileno()]
        )
        return Server(address_of(listener), child)


async def ready(family: Family, server: Server) -> None:
    """Wait until `server` answers and reaches its Redis server."""
    await family.ready(server.child, lambda: complaint(server))


async def complaint(server: Server) -> str:
    """Why `server` does not answer; nothing if it does.

    Raises:
        ChildFailed: it answers that it is not well. It has waited for its Redis server, so there is no use in asking
            again.
    """
    try:
        status, answer = await fetch(f"{server.address}/health")
    except OSError as error:
        return str(error)
    if status != 200:
        raise ChildFailed(server.child, f"is not well: {answer['detail']}")
    return ""


def address_of(listener: socket.socket) -> str:
    """The address of the page that is served on `listener`."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
