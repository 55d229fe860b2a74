"""Queues without the protections, made of the commands that everybody would use first: the twins run on them.

They look like a layer to whoever sends, receives and handles, and are right as long as nothing breaks.
"""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fast_channels.exceptions import ChannelFull, OutcomeUnknown, ServerRefused
from fast_channels.layers.base import BaseChannelLayer

__all__ = ["LeasedQueue", "PlainQueue", "ScriptedQueue", "StampedQueue"]

Message = dict[str, Any]

UNBOUNDED = 1 << 40

ROB = """
for _, raw in ipairs(redis.call('HKEYS', KEYS[1])) do
    if redis.call('EXISTS', 'lease:' .. redis.call('HGET', KEYS[1], raw)) == 0 then
        redis.call('HDEL', KEYS[1], raw)
        redis.call('LPUSH', KEYS[2], raw)
    end
end
"""
"""Give back what is held by those who have no lease."""


class PlainQueue(BaseChannelLayer):
    """Lists and sets, and redis-py's own retry.

    `racing` senders of this process look whether there is a place before the first of them takes it.
    """

    def __init__(
        self, hosts: list[str], capacity: int = UNBOUNDED, patience: float | None = None, racing: int = 1
    ) -> None:
        super().__init__(capacity=capacity)
        self.redis: Any = Redis.from_url(
            hosts[0],
            socket_timeout=patience,
            retry=Retry(ConstantBackoff(0.01), 3, supported_errors=(RedisConnectionError,)),
            retry_on_error=[RedisConnectionError],
        )
        self.name = uuid4().hex
        self._received: defaultdict[str, deque[Message]] = defaultdict(deque)
        self._popping = asyncio.Lock()
        self._all_looked = asyncio.Barrier(racing)

    async def send(self, channel: str, message: Message, **options: Any) -> None:
        if self.capacity < UNBOUNDED:
            depth = await self.redis.llen(self._key(channel))
            await self._all_looked.wait()
            if depth >= self.capacity:
                raise ChannelFull(channel=channel, capacity=self.capacity)
        await self._push(channel, self._encode(channel, message))

    async def receive(self, channel: str) -> Message:
        """Whoever pops pops for all channels of this process."""
        while not self._received[channel]:
            async with self._popping:
                if not self._received[channel]:
                    self._keep(await self._pop(self._key(channel)))
        return self._received[channel].popleft()

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}.{self.name}!{uuid4().hex}"

    async def release_channel(self, channel: str) -> None:
        self._received.pop(channel, None)

    async def group_add(self, group: str, channel: str) -> None:
        await self._told(lambda: self.redis.sadd(group, channel))

    async def group_send(self, group: str | Sequence[str], message: Message, **options: Any) -> None:
        for member in await self._told(lambda: self.redis.smembers(group)):
            await self._push(member.decode(), self._encode(member.decode(), message))

    async def close(self) -> None:
        await self.redis.aclose()

    def _key(self, channel: str) -> str:
        return self.non_local_name(channel)

    def _encode(self, channel: str, message: Message) -> bytes:
        return json.dumps([channel, message]).encode()

    def _keep(self, raw: bytes) -> None:
        channel, message = json.loads(raw)
        self._received[channel].append(message)

    async def _push(self, channel: str, raw: bytes) -> None:
        await self._told(lambda: self.redis.rpush(self._key(channel), raw))

    async def _pop(self, key: str) -> bytes:
        while True:
            with suppress(RedisConnectionError):
                answer = await self.redis.blpop([key])
                return bytes(answer[1])

    async def _told(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await ask()
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise OutcomeUnknown("the server", str(error)) from error
        except ResponseError as error:
            raise ServerRefused("the server", str(error)) from error


class StampedQueue(PlainQueue):
    """What is older than a minute is dropped: by the clock of the sender, and the clock of the receiver."""

    def _encode(self, channel: str, message: Message) -> bytes:
        return super()._encode(channel, {**message, "expires": time.time() + 60})

    def _keep(self, raw: bytes) -> None:
        if json.loads(raw)[1]["expires"] > time.time():
            super()._keep(raw)


class ScriptedQueue(PlainQueue):
    """Its script is loaded once."""

    script = ""

    async def _push(self, channel: str, raw: bytes) -> None:
        self.script = self.script or await self.redis.script_load("return redis.call('RPUSH', KEYS[1], ARGV[1])")
        await self._told(lambda: self.redis.evalsha(self.script, 1, self._key(channel), raw))


class LeasedQueue(PlainQueue):
    """Who holds a message renews a key that expires; what belongs to nobody who has one goes back to the line."""

    def __init__(self, hosts: list[str], lease: float = 0.5) -> None:
        super().__init__(hosts)
        self.lease = lease
        self._renewing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def _delivery(self, channel: str) -> AsyncIterator[Message]:
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        raw = await self._take(channel)
        try:
            yield json.loads(raw)[1]
        except Exception:
            await self._give_up(channel, raw)
            raise
        await self.redis.hdel(f"held:{channel}", raw)  # whoever holds it by now

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await super().close()

    async def _take(self, channel: str) -> bytes:
        while True:
            await self.redis.eval(ROB, 2, f"held:{channel}", channel)
            if raw := await self.redis.lpop(channel):
                await self.redis.hset(f"held:{channel}", raw, self.name)
                return bytes(raw)
            await asyncio.sleep(0.02)

    async def _give_up(self, channel: str, raw: bytes) -> None:
        await self.redis.hdel(f"held:{channel}", raw)
        await self.redis.lpush(channel, raw)

    async def _renew(self) -> None:
        while True:
            await self.redis.set(f"lease:{self.name}", "", px=int(self.lease * 1000))
            await asyncio.sleep(self.lease / 4)
