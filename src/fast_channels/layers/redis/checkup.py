"""A layer is examined: it is connected to as the application would, and what its servers answer is judged."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from hiredis import ReplyError
from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError

from fast_channels.exceptions import FastChannelsError, ServerRefused
from fast_channels.layers.findings import Finding, Level
from fast_channels.layers.redis import permissions as access
from fast_channels.layers.redis import rules, standing
from fast_channels.layers.redis.certificates import explained
from fast_channels.layers.redis.checks import fields_of, setting_of
from fast_channels.layers.redis.cluster import SLOTS, Cluster, Node
from fast_channels.layers.redis.config import SentinelMaster, Server
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.layers.redis.queue import RedisChannelLayer
from fast_channels.layers.redis.topology import QUICK, Endpoint, sentinel_state

__all__ = ["check_up", "remove_channel"]

NAME: Final = "fast-channels-doctor"
"""What the names begin with that an examination uses; none of them is anybody else's."""

PATIENCE: Final = 10.0
"""Seconds for all questions to one server, and for a message."""

ROUND_TRIPS: Final = 200

REACHING: Final = (OSError, FastChannelsError, RedisError)
"""What goes wrong on the way to a server."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined."""

    prefix: str
    keeps: bool
    """Whether messages are kept on the server."""
    largest: int
    """Bytes of the largest message."""
    replicated: bool
    kind: str
    """`alone`, `sentinel` or `cluster`."""

    @property
    def trials(self) -> tuple[str, ...]:
        """The commands that it needs."""
        if not self.keeps:
            return access.CLUSTER_PUBSUB if self.kind == "cluster" else access.PUBSUB
        more = access.CLUSTER if self.kind == "cluster" else ()
        return (*access.QUEUE, *more, *(access.REPLICATED if self.replicated else ()))


async def check_up(layer: RedisLayer[Any]) -> list[Finding]:
    """Everything that is right and wrong with the servers of `layer`, and whether messages pass.

    Servers are asked over connections of their own, and tried with names of their own: no channel or group of the
    application is touched, and what is left is gone in seconds. A server that is not reached is a finding
    `connection`.
    """
    keeps = isinstance(layer, RedisChannelLayer)
    replicated = isinstance(layer, RedisChannelLayer) and layer.durability == "replicated"
    case = Case(layer.prefix, keeps, layer.max_message_size, replicated, "alone")
    topology = layer._topology
    if isinstance(topology, Cluster):
        found = await _cluster(topology, replace(case, kind="cluster"))
    else:
        endpoints = [topology.endpoint(place) for place in range(len(topology))]
        found = _all(await asyncio.gather(*(_shard(endpoint, case) for endpoint in endpoints)))
    if not any(finding.subject == "connection" and finding.level is Level.WRONG for finding in found):
        found.append(await _messages(layer))
    return found


def _all(lists: Iterable[list[Finding]]) -> list[Finding]:
    return [finding for found in lists for finding in found]


# Which servers there are


async def _shard(endpoint: Endpoint, case: Case) -> list[Finding]:
    where = endpoint.where
    if isinstance(where, Server):
        return await _server(endpoint, where, case)
    found = await _sentinels(where)
    return [*found, *await _server(endpoint, where.server, replace(case, kind="sentinel"))]


async def _sentinels(where: SentinelMaster) -> list[Finding]:
    witnesses = await asyncio.gather(*(_witness(node, where) for node in where.sentinels))
    return [replace(finding, server=where.label) for finding in standing.sentinels(where.name, witnesses)]


async def _witness(node: tuple[str, int], where: SentinelMaster) -> standing.Witness:
    label = f"{node[0]}:{node[1]}"
    try:
        state = await sentinel_state(node, where.name, {**QUICK, **where.sentinel_options})
    except REACHING as error:
        return standing.Witness(label, {}, str(explained(error, node[0])) or type(error).__name__)
    return standing.Witness(label, state)


async def _cluster(cluster: Cluster, case: Case) -> list[Finding]:
    try:
        await cluster.learn()
    except REACHING as error:
        return [_unreached(error, cluster.label)]
    unserved = sum(cluster.node_of(slot) is None for slot in range(SLOTS))
    nodes = cluster.nodes
    found = [replace(standing.slots(unserved, len(nodes)), server=cluster.label)]
    for node in nodes:
        endpoint = cluster.endpoint(node)
        where = endpoint.where
        if isinstance(where, Server):
            found += await _server(endpoint, where, case, _belongs_to(cluster, node))
    return found


def _belongs_to(cluster: Cluster, node: Node) -> Callable[[str], bool]:
    return lambda key: cluster.node_of(cluster.slot_of(key.encode())) == node


# One server


async def _server(
    endpoint: Endpoint, where: Server, case: Case, is_here: Callable[[str], bool] = bool
) -> list[Finding]:
    """All about one server. `is_here` says of a key whether it belongs there."""
    label = endpoint.label
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await endpoint.connect(_ignore, _ignore)
            if case.kind == "sentinel" and connection.peer is not None:
                label = f"{label} ({connection.peer[0]}:{connection.peer[1]})"
            try:
                found = await _examined(connection, where, case, is_here)
            finally:
                connection.close(ConnectionError("it was examined"))
    except REACHING as error:
        return [_unreached(error, label)]
    return [replace(finding, server=label) for finding in found]


async def _examined(connection: Connection, where: Server, case: Case, is_here: Callable[[str], bool]) -> list[Finding]:
    guard = _protection_of(where)
    found = [Finding(Level.OK, "connection", "connected as the application does")]
    found += await _set_up(connection, case)
    found.append(rules.latency(await _round_trips(connection)))
    clock = await _clock(connection)
    if clock is not None:
        found.append(rules.clock(clock))
    found += [access.protection(guard), access.user(guard)]
    key = next(key for key in iter(lambda: f"{case.prefix}|{{{NAME}:{uuid4().hex}}}", None) if is_here(key))
    missing = await access.missing_on(connection, case.trials, f"{key}|trial", f"{key}|trial")
    found.append(access.permissions(guard.user, case.prefix, missing))
    return found


async def _set_up(connection: Connection, case: Case) -> list[Finding]:
    answer = await _asked(connection, "INFO")
    if answer is None:
        text = "the user may not ask how the server is set up: version, eviction and persistence are not known"
        return [Finding(Level.NOTE, "setup", text, "examine it as a user who may: +info +config|get")]
    info = fields_of(answer)
    save = await _setting(connection, "save")
    limits = await _setting(connection, "client-output-buffer-limit")
    mode = rules.cluster_mode(info, expected=case.kind == "cluster")
    return [
        rules.version(info),
        *([mode] if mode is not None else [standing.replicas(info, case.kind, replicated=case.replicated)]),
        rules.eviction(info, keeps=case.keeps),
        rules.persistence(info, save, keeps=case.keeps),
        rules.memory(info),
        *(rules.buffers(limits, case.largest) if limits else ()),
    ]


async def _asked(connection: Connection, *command: str) -> Any:
    """The answer; None if it is refused."""
    try:
        return await connection.execute(*command)
    except ReplyError:
        return None


async def _setting(connection: Connection, name: str) -> str | None:
    answer: Mapping[bytes, bytes] | None = await _asked(connection, "CONFIG", "GET", name)
    return None if answer is None else setting_of(answer, name)


async def _round_trips(connection: Connection) -> list[float]:
    """Seconds of some, of a command that everybody may send."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < ROUND_TRIPS and (len(taken) < 3 or time.perf_counter() - began < 1):
        sent = time.perf_counter()
        await connection.execute("HELLO")
        taken.append(time.perf_counter() - sent)
    return taken


async def _clock(connection: Connection) -> rules.Clock | None:
    before = time.time()
    answer = await _asked(connection, "TIME")
    after = time.time()
    if answer is None:
        return None
    there = int(answer[0]) + int(answer[1]) / 1_000_000
    return rules.Clock(there - (before + after) / 2, (after - before) / 2)


def _protection_of(where: Server) -> access.Protection:
    template: Any = where.template
    secret = bool(template.password or template.credential_provider)
    host = "" if where.path is not None else where.host
    found = access.Protection(host, template.username or "default", secret)
    if not isinstance(template, SSLConnection):
        return found
    context = template.ssl_context
    verified = context.cert_reqs != 0
    return replace(found, tls=True, verified=verified, named=verified and bool(context.check_hostname))


def _unreached(error: BaseException, label: str) -> Finding:
    if isinstance(error, ServerRefused):
        text, advice = error.answer, "check the user, the password and the address"
    else:
        text = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        advice = "is it running, and is the address right?"
    return Finding(Level.WRONG, "connection", text, advice, label)


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


# The whole way


async def _messages(layer: RedisLayer[Any]) -> Finding:
    """Whether a message to a channel and one to a group come back."""
    message = {"type": NAME}
    began = time.perf_counter()
    try:
        async with layer, asyncio.timeout(PATIENCE):
            channel = await layer.new_channel(NAME)
            group = f"{NAME}.{uuid4().hex}"
            try:
                await layer.send(channel, message)
                await layer.receive(channel)
                await layer.group_add(group, channel)
                await layer.group_send(group, message)
                await layer.receive(channel)
            finally:
                await layer.release_channel(channel)
    except TimeoutError:
        return Finding(
            Level.WRONG, "messages", f"a message did not come back in {PATIENCE:g} s", "see what is wrong above"
        )
    except FastChannelsError as error:
        return Finding(Level.WRONG, "messages", str(error), "see what is wrong above")
    taken = (time.perf_counter() - began) * 1000
    return Finding(Level.OK, "messages", f"one to a channel and one to a group came back ({taken:.0f} ms in all)")


async def remove_channel(layer: RedisChannelLayer, channel: str) -> None:
    """Remove a shared channel that nobody uses any more, with everything that the server has of it.

    Raises:
        ServerUnreachable, OutcomeUnknown, ServerRefused: as `Link.call`.
    """
    keys = layer._wiring.keys.shared(channel)
    await layer._here().link_to(keys.ready).call(b"UNLINK", *keys)
