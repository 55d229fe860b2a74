"""What a queue layer has on its servers: to look at, and to empty."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any, Final

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.foreign import number, shown
from fast_channels.layers.redis.hub import Hub
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.mailroom import pack_head
from fast_channels.layers.redis.scripts import EMPTY, run

__all__ = ["empty", "look", "things"]

AT_ONCE: Final = 1000
"""Keys of one step of a scan."""


async def scan(link: Commands, pattern: str) -> list[bytes]:
    """The keys on one server that match `pattern`: step by step, so that the server goes on serving others."""
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, keys = await link.call(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", AT_ONCE)
        found.update(keys)
        if cursor == b"0":
            return sorted(found)


async def things(link: Commands, keys: QueueKeys) -> list[tuple[str, str]]:
    """What there is on one server: kind (`i` inbox, `g` group, `c` shared channel) and name."""
    found = {keys.thing_of(key) for key in await scan(link, keys.everything()) if b"|answered|" not in key}
    return sorted(found - {("leases", "")})


async def empty(hub: Hub, link: Commands, keys: QueueKeys) -> None:
    """Drop all messages and memberships on one server, and tell the owners of inboxes to forget theirs."""
    at = partial(hub.servers.link_for, link)
    found = await scan(link, keys.everything())
    inboxes = {name for kind, name in map(keys.thing_of, found) if kind == "i"}
    for client in sorted(inboxes):
        await _empty_inbox(at(keys.inbox(client).meta), keys, client)
    others = [key for key in found if keys.thing_of(key)[0] in ("c", "g")]
    for start in range(0, len(others), AT_ONCE):  # one by one, but in one go: in a Cluster each has its own slot
        await asyncio.gather(*(at(key).call(b"UNLINK", key) for key in others[start : start + AT_ONCE]))


async def _empty_inbox(link: Commands, keys: QueueKeys, client: str) -> None:
    inbox = keys.inbox(client)
    try:
        await run(link, EMPTY, inbox, pack_head("f"))
    except ServerRefused as error:
        if "WRONGTYPE" not in error.answer:
            raise
        await asyncio.gather(*(link.call(b"UNLINK", key) for key in inbox))  # no inbox: its owner makes it again


async def look(hub: Hub, keys: QueueKeys) -> dict[str, Any]:
    """Channels, groups and inboxes as plain data; ages in seconds on the server's clock."""
    channels: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    inboxes: dict[str, Any] = {}
    servers = []
    for link in await hub.servers.all_links():
        seconds, micros = await link.call(b"TIME")
        now = int(seconds) * 1000 + int(micros) / 1000
        at = partial(hub.servers.link_for, link)
        for kind, name in await things(link, keys):
            if kind == "c":
                channels[name] = await _shared(at(keys.shared(name).ready), keys, name, now)
            elif kind == "g":
                groups[name] = await _members(at(keys.group(name)), keys, hub, name, now)
            elif kind == "i":
                inboxes[name] = await _inbox(at(keys.inbox(name).meta), keys, name, now)
        servers.append({"server": link.label})
    for inbox in hub.inboxes.values():
        channels.update({name: {"depth": depth} for name, depth in inbox.local.queued()})
    return {"layer": "queue", "channels": channels, "groups": groups, "inboxes": inboxes, "servers": servers}


async def _shared(link: Commands, keys: QueueKeys, name: str, now: float) -> dict[str, Any]:
    shared = keys.shared(name)
    held = _flat(await link.call(b"HGETALL", shared.held))
    holders = Counter(shown(holder.partition(b":")[0]) for holder in held.values())  # by client
    first = await link.call(b"LINDEX", shared.ready, 0)
    state = await link.call(b"HGET", shared.states, first) if first is not None else None
    return {
        "depth": await link.call(b"LLEN", shared.ready),
        "delayed": await link.call(b"ZCARD", shared.delayed),
        "oldest_age": _age(number(state.rpartition(b":")[2]), now) if state else None,
        "held": dict(holders),
        "dead_letters": await link.call(b"ZCARD", shared.dead),
    }


async def _members(link: Commands, keys: QueueKeys, hub: Hub, name: str, now: float) -> list[str]:
    """The channels of this loop by name, those of others as `inbox <client>`, and shared channels."""
    members: list[str] = []
    for member in await link.call(b"ZRANGEBYSCORE", keys.group(name), f"{now:.0f}", b"+inf"):
        kind, _, rest = shown(member).partition(":")
        client = rest.partition(":")[0]
        inbox = hub.inboxes.get(client) if kind == "i" else None
        if inbox is not None:
            members += inbox.local.groups[name].members if name in inbox.local.groups else []
        else:
            members.append(f"inbox {client}" if kind == "i" else rest)
    return members


async def _inbox(link: Commands, keys: QueueKeys, client: str, now: float) -> dict[str, Any]:
    inbox = keys.inbox(client)
    first = await link.call(b"XRANGE", inbox.stream, b"-", b"+", b"COUNT", 1)
    meta = _flat(await link.call(b"HGETALL", inbox.meta))
    return {
        "unread": number(meta.get(b"in")) - number(meta.get(b"out")),
        "oldest_age": _age(int(first[0][0].partition(b"-")[0]), now) if first else None,
        "groups": await link.call(b"SCARD", inbox.groups),
        "alive": number(meta.get(b"until")) >= now,
    }


def _age(since: int, now: float) -> float:
    return round(max(0.0, now - since) / 1000, 3)


def _flat(reply: Any) -> dict[bytes, bytes]:
    """HGETALL's answer: a map."""
    return dict(reply)
