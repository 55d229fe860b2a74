"""Asking servers, connections that listen, and the way through a server and back whether they work."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.readiness import Check, cancelled
from fast_channels.layers.redis.cluster_servers import AnyServers
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.subscriptions import Subscriptions

__all__ = ["Probed", "checks_of"]

SHARE: Final = 0.9
"""Of the time of all checks, what each server has for its answer: then there is time to say which have not."""


class Probed(Protocol):
    """What one event loop holds of a layer."""

    servers: AnyServers

    async def probe(self) -> None:
        """Send something to the inbox of this loop, through its server; returns when it has arrived."""
        ...


def checks_of(part: Probed, timeout: float) -> list[Check]:
    """What must hold for `part` to send and to hear."""
    listeners = part.servers.listeners()
    deaf = "what is sent to this process does not arrive"
    return [
        Check(f"{deaf}: nothing came back through the server", partial(_named, deaf, part.probe)),
        Check("it was not found out which servers there are", partial(_ask_servers, part.servers, timeout * SHARE)),
        *(Check(f"{each.link.label} is not heard: no answer", partial(_ask_listener, each)) for each in listeners),
    ]


async def _ask_servers(servers: AnyServers, timeout: float) -> None:
    asked = {asyncio.ensure_future(_ask(link)): link.label for link in await servers.all_links()}
    try:
        await asyncio.wait(asked, timeout=timeout)
    finally:
        await cancelled(asked)
    problems = [
        f"{label} does not answer" if task.cancelled() else str(task.exception())
        for task, label in asked.items()
        if task.cancelled() or task.exception()
    ]
    if problems:
        raise ConnectionError("; ".join(problems))


async def _ask(link: Commands) -> None:
    await link.call(b"HELLO")  # any user may


async def _ask_listener(subscriptions: Subscriptions) -> None:
    """Over the connection that listens: the answer comes after those to all that was subscribed before."""
    await _named(f"{subscriptions.link.label} is not heard", partial(_ask, subscriptions.link))
    missing = subscriptions.missing()
    if missing:
        raise ConnectionError(f"{subscriptions.link.label} is not heard: {missing} subscriptions are not in force")


async def _named(what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await work()
    except FastChannelsError as error:
        raise ConnectionError(f"{what}: {error}") from error
