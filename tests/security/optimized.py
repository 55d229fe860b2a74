"""A program that tries every check of input, and both Redis layers. It runs under `python -O`, so it has no assertions:
what is wrong is printed, and the exit code is the number of it.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fast_channels import names
from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import (
    ChannelFull,
    FastChannelsError,
    ForeignChannelError,
    InvalidMessageError,
    InvalidNameError,
    MessageTooLarge,
)
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.middleware import OriginValidator
from fast_channels.serializers import MsgPackSerializer

wrong: list[str] = []


def check(what: str, holds: bool) -> None:
    if not holds:
        wrong.append(what)


def refuses(kind: type[BaseException], what: str, call: Callable[[], Any]) -> None:
    """Whether `call` raises an error of that kind."""
    try:
        call()
    except kind:
        return
    except Exception as error:
        wrong.append(f"{what}: {error!r}")
        return
    wrong.append(f"{what}: accepted")


async def async_refuses(kind: type[BaseException], what: str, call: Any) -> None:
    try:
        await asyncio.wait_for(call, 10)
    except kind:
        return
    except Exception as error:
        wrong.append(f"{what}: {error!r}")
        return
    wrong.append(f"{what}: accepted")


def input_of_constructors() -> None:
    for name in ("room\n", "room٣", "", "a b", "x" * 100, None, 5):
        refuses(InvalidNameError, f"channel {name!r}", lambda name=name: names.check_channel_name(name))  # type: ignore[misc]
        refuses(InvalidNameError, f"group {name!r}", lambda name=name: names.check_group_name(name))  # type: ignore[misc]
    for prefix in ("a|b", "{a}", "", None):
        refuses(ValueError, f"prefix {prefix!r}", lambda prefix=prefix: RedisChannelLayer(prefix=prefix))  # type: ignore[misc]
    kinds: list[Any] = [RedisChannelLayer, RedisPubSubChannelLayer]
    for kind in kinds:
        bad: list[dict[str, Any]] = [
            {"hosts": "redis://h"},
            {"hosts": []},
            {"hosts": [None]},
            {"hosts": ["http://h"]},
            {"hosts": [("h", 0)]},
            {"sentinels": [("h", 1)]},
            {"symmetric_encryption_keys": "a single key, not a list"},
            {"symmetric_encryption_keys": ["hunter2"]},
            {"expiry": 0},
            {"capacity": 0},
            {"channel_capacity": {"a*": 0}},
        ]
        for options in bad:
            refuses(ValueError, f"{kind.__name__}({options})", lambda kind=kind, options=options: kind(**options))  # type: ignore[misc]
        refuses(TypeError, f"{kind.__name__}(nonsense=1)", lambda kind=kind: kind(nonsense=1))  # type: ignore[misc]
    refuses(ValueError, "expiry of the in-memory layer", lambda: InMemoryChannelLayer(expiry=0))
    refuses(ValueError, "max_deliveries", lambda: RedisChannelLayer(max_deliveries=0))
    refuses(ValueError, "overflow", lambda: RedisPubSubChannelLayer(overflow="nonsense"))  # type: ignore[arg-type]
    refuses(TypeError, "a value without an encoding", lambda: MsgPackSerializer().serialize({"x": object()}))
    keyed = MsgPackSerializer(symmetric_encryption_keys=["a secret of ours"])
    refuses(ValueError, "another address", lambda: keyed.deserialize(keyed.serialize({}, b"here"), b"there"))
    validator = OriginValidator(None, ["https://example.com"])  # type: ignore[arg-type]
    check("a foreign origin", not validator.valid_origin(None))


async def input_of_calls(layer: BaseChannelLayer, other: BaseChannelLayer, *, is_queue: bool) -> None:
    kind = type(layer).__name__
    for name in ("room\n", "a b", "", None):
        calls: list[Callable[[Any], Any]] = [
            lambda name: layer.send(name, {}),
            lambda name: layer.group_send(name, {}),
            layer.receive,
            lambda name: layer.group_add(name, "a"),
            lambda name: layer.group_add("a", name),
            layer.release_channel,
        ]
        for call in calls:
            await async_refuses(InvalidNameError, f"{kind} {name!r}", call(name))
    await async_refuses(InvalidMessageError, f"{kind}: no encoding", layer.send("jobs", {"x": object()}))
    if not isinstance(layer, RedisPubSubChannelLayer):
        await async_refuses(InvalidMessageError, f"{kind}: no dict", layer.send("jobs", "text"))  # type: ignore[arg-type]
    layer.max_message_size = 100
    await async_refuses(MessageTooLarge, f"{kind}: too large", layer.send("jobs", {"x": "y" * 200}))
    await async_refuses(AssertionError, f"{kind}: foreign", layer.receive(await other.new_channel()))
    await async_refuses(ForeignChannelError, f"{kind}: foreign", layer.receive("specific.somebody!x"))
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "heard"})
    check(f"{kind}: a message", await asyncio.wait_for(layer.receive(channel), 10) == {"type": "heard"})
    if is_queue:
        await layer.send("full", {})
        await layer.send("full", {})
        await async_refuses(ChannelFull, f"{kind}: over capacity", layer.send("full", {}))


async def input_of_consumers() -> None:
    for message in ({}, {"type": "_private"}, {"type": "dispatch"}, {"type": 5}):
        await async_refuses(ValueError, f"dispatch {message}", AsyncConsumer().dispatch(message))


async def main(url: str) -> None:
    input_of_constructors()
    await input_of_consumers()
    unique = f"optimized-{os.getpid()}"
    options: Any = {"hosts": [url], "prefix": unique, "capacity": 2}
    for kind in (RedisChannelLayer, RedisPubSubChannelLayer):
        async with kind(**options) as layer, kind(**options) as other:
            await input_of_calls(layer, other, is_queue=kind is RedisChannelLayer)
    async with InMemoryChannelLayer(capacity=2) as layer, InMemoryChannelLayer() as other:
        await input_of_calls(layer, other, is_queue=True)
    async with RedisChannelLayer(hosts=[url], prefix=unique) as layer:
        with suppress(FastChannelsError):
            await layer.flush()


if __name__ == "__main__":
    check("run me with python -O", not __debug__)
    asyncio.run(main(sys.argv[1]))
    print("\n".join(wrong))
    sys.exit(min(len(wrong), 100))
