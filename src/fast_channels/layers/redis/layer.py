"""What the Redis layers have in common: servers, formats, event loops, forks."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import uuid4

from fast_channels import names
from fast_channels.exceptions import ForeignChannelError, MessageTooLarge
from fast_channels.layers.base import BaseChannelLayer, LayerStatistics
from fast_channels.layers.forking import leave_to_parent, start_afresh_in_children
from fast_channels.layers.mailbox import SKIPPED, Counters, is_worth_a_line
from fast_channels.layers.readiness import Readiness, all_checked
from fast_channels.layers.redis.cluster import Cluster
from fast_channels.layers.redis.config import Hosts, SentinelMaster, Server, parse_hosts
from fast_channels.layers.redis.probing import Probed, checks_of
from fast_channels.layers.redis.sync import RedisSyncLayer
from fast_channels.layers.redis.topology import Endpoint, Shards
from fast_channels.serializers import BaseMessageSerializer, registry
from fast_channels.type_defs import ChannelCapacityDict

__all__ = ["LoopPart", "RedisLayer"]

logger = logging.getLogger("fast_channels.redis")

ADOPTABLE = 64
"""Event loops that were closed with channels open that are kept for a later loop to take over."""


class LoopPart(Probed, Protocol):
    """What a layer holds for one event loop: its channels and its connections."""

    loop: asyncio.AbstractEventLoop

    @property
    def holds_channels(self) -> bool:
        """Whether there are channels that a later loop may want to take over."""
        ...

    async def adopt(self, client: str, other: Self) -> None:
        """Take over the channels of `client` from `other`, whose loop is closed."""
        ...

    async def close(self) -> None:
        """Let go of everything. Idempotent; it opens again when it is used."""
        ...

    def abandon(self) -> None:
        """Let go of the connections after the loop was closed under them."""
        ...


Part = TypeVar("Part", bound=LoopPart)


class RedisLayer(BaseChannelLayer, Generic[Part]):
    """Servers, serializers, counters, and a part for each event loop that uses the layer."""

    _only_dicts = False
    """Whether anything else than a dict is no message."""

    def __init__(
        self,
        hosts: Hosts | None,
        prefix: str,
        *,
        expiry: float,
        capacity: int,
        channel_capacity: ChannelCapacityDict | None,
        symmetric_encryption_keys: Sequence[str | bytes] | None,
        serializer_format: str,
        random_prefix_length: int = 0,
        sentinels: Sequence[tuple[str, int]] | None,
        service_name: str | None,
        sentinel_kwargs: Mapping[str, Any] | None,
        connection_kwargs: Mapping[str, Any] | None,
        cluster: bool,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        servers = parse_hosts(
            hosts,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
        )
        self.prefix = prefix
        self._topology = _cluster(servers) if cluster else Shards([Endpoint(server) for server in servers])
        more = {"random_prefix_length": random_prefix_length} if random_prefix_length else {}
        self._serializer = registry.get_serializer(
            serializer_format, symmetric_encryption_keys=symmetric_encryption_keys, **more
        )
        self._encrypted = bool(symmetric_encryption_keys)
        self._read = self._decoder()
        self._counters = Counters()
        self._start_afresh()
        start_afresh_in_children(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix!r} on {self._topology.label}>"

    def _make_part(self, client: str) -> Part:
        """The part of the running event loop."""
        raise NotImplementedError

    # Life

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._forget_closed_loops(keep=0)
        for part in tuple(self._parts.values()):
            if part.loop is loop:
                await self._close_part(part)
            elif part.loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(part.close(), part.loop)
                await asyncio.wait({asyncio.wrap_future(closing)}, timeout=2)
        self._close_sync()

    async def _close_loop(self) -> None:
        part = self._parts.get(asyncio.get_running_loop())
        if part is not None:
            await self._close_part(part)

    async def _close_part(self, part: Part) -> None:
        """Close `part` to the end, also if who waits for that is cancelled: half closed, it cannot be closed again."""
        closing = self._closing.get(part)
        if closing is None:
            closing = self._closing[part] = asyncio.create_task(part.close(), name=f"closing {part!r}")
            closing.add_done_callback(lambda _: self._closing.pop(part, None))
        await asyncio.shield(closing)

    # Looking

    async def ready(self, timeout: float = 1.0) -> Readiness:
        return await all_checked(checks_of(self._here(), timeout), timeout)

    def statistics(self) -> LayerStatistics:
        counters = self._counters
        sync = self.__dict__.get("_sync")
        if isinstance(sync, RedisSyncLayer):
            counters = counters.plus(sync.counters)
        return LayerStatistics(
            counters.sent,
            counters.group_sent,
            counters.received,
            dict(counters.dropped),
            counters.disconnections,
            counters.reconnections,
            counters.redelivered,
            counters.dead_lettered,
            counters.restored,
        )

    # Encoding

    def serialize(self, message: Any) -> bytes:
        """The bytes of `message` on the wire; without keys, exactly those of the format."""
        return self._serializer.serialize(message)

    def deserialize(self, message: bytes) -> Any:
        """What `serialize` made."""
        return self._serializer.deserialize(message)

    def _encode(self, message: Any, context: bytes) -> bytes:
        payload = self._serializer.serialize(message, context) if self._encrypted else self.serialize(message)
        if not isinstance(payload, bytes):  # what is no bytes would stop the connection, and everybody on it
            raise TypeError(f"{type(self).__name__} must serialize a message to bytes, not {type(payload).__name__}")
        if len(payload) > self.max_message_size:
            raise MessageTooLarge(size=len(payload), limit=self.max_message_size)
        return payload

    def _decoder(self) -> Callable[[bytes], Any]:
        """The shortest way to do what `deserialize` does, which a subclass may have overridden."""
        if type(self).deserialize is not RedisLayer.deserialize:
            return self.deserialize
        serializer = self._serializer
        return serializer.decoder() if isinstance(serializer, BaseMessageSerializer) else serializer.deserialize

    def _decoded(self, payload: bytes, context: bytes) -> Any:
        """The message in `payload`, or `SKIPPED`: anybody may write to the server; the receiver goes on."""
        if len(payload) > self.max_message_size:
            if is_worth_a_line(self._counters.drop("too_large")):
                logger.warning(
                    "a message of layer %s has %d bytes, more than max_message_size, %d: set aside",
                    *(self.prefix, len(payload), self.max_message_size),
                )
            return SKIPPED
        try:
            message = self._serializer.deserialize(payload, context) if self._encrypted else self._read(payload)
            if self._only_dicts and not isinstance(message, dict):
                raise TypeError(f"a message is a dict, not {type(message).__name__}")
        except Exception as error:
            if is_worth_a_line(self._counters.drop("undecodable")):
                logger.warning(
                    "a message of layer %s cannot be read (%.200r): has its sender other keys?", self.prefix, error
                )
            return SKIPPED
        return message

    # One part for each event loop

    def _here(self) -> Part:
        loop = asyncio.get_running_loop()
        part = self._parts.get(loop)
        return part if part is not None else self._open_part(loop)

    def _open_part(self, loop: asyncio.AbstractEventLoop) -> Part:
        with self._lock:
            self._forget_closed_loops(keep=ADOPTABLE)
            number = self._opened
            self._opened += 1
            client = f"{self.client_prefix}-{number}" if number else self.client_prefix
            part = self._parts[loop] = self._clients[client] = self._make_part(client)
        return part

    def _forget_closed_loops(self, keep: int) -> None:
        for loop in [loop for loop in self._parts if loop.is_closed()]:
            self._parts.pop(loop).abandon()
        orphans = [client for client, part in self._clients.items() if part.loop.is_closed()]
        adoptable = [client for client in orphans if self._clients[client].holds_channels]
        for client in set(orphans).difference(adoptable[-keep:] if keep else []):
            del self._clients[client]

    async def _owns(self, client: str, part: Part) -> bool:
        """Whether `client` is of this loop, which takes over what belonged to a loop that is closed."""
        owner = self._clients.get(client)
        if owner is None or owner is part:
            return owner is part
        if not owner.loop.is_closed():
            return False
        with self._lock:
            self._clients.pop(client, None)  # to the end of the line of those that are kept
            self._clients[client] = part
        await part.adopt(client, owner)
        return True

    def _foreign(self, channel: str) -> ForeignChannelError:
        other = names.client_of(channel) in self._clients
        return ForeignChannelError(channel, *["another event loop of this process"] * other)

    def _start_afresh(self) -> None:
        """Take a new identity: at the beginning, and in a forked child, whose parent keeps the old one."""
        self.client_prefix = uuid4().hex
        self._parts: dict[asyncio.AbstractEventLoop, Part] = {}
        self._clients: dict[str, Part] = {}
        self._closing: dict[Part, asyncio.Task[None]] = {}
        self._opened = 0
        self._lock = threading.Lock()

    def _after_fork(self) -> None:
        leave_to_parent(self._parts)
        self._start_afresh()


def _cluster(servers: Sequence[Server | SentinelMaster]) -> Cluster:
    nodes = [server for server in servers if isinstance(server, Server)]
    if len(nodes) != len(servers):
        raise ValueError("a Cluster has no Sentinels: with cluster=True, hosts are some of its nodes")
    return Cluster(nodes)
