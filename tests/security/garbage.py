"""What somebody could write to a server who means no good, or nothing at all."""

import random
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from redis import Redis

from fast_channels.layers.redis.keys import QueueKeys

__all__ = ["AUDIENCES", "NO_MAPS", "NO_MESSAGES", "WORDS", "heads", "put", "spoil"]

SEED = 20_240_229

NO_MAPS = [
    msgspec.msgpack.encode(value) for value in (None, 1, "text", [1, 2], 1.5, b"bytes", msgspec.msgpack.Ext(5, b""))
]
"""What is MessagePack, and no map."""

NO_MESSAGES = [
    b"",
    b"\xc1",
    b"plain text",
    b"\x81",  # the map ends early
    b"\x91" * 200_000 + b"\x01",  # deep
    b"\x81\xa1a" * 200_000 + b"\x01",
    b"\xdd\xff\xff\xff\xff",  # a list of four thousand million
    b"\xdf\xff\xff\xff\xff\xa1a",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\x81\x01\x02\x03",  # a map as a key
    b"\xd6\xff\xff\xff\xff\xff\xff",
    random.Random(SEED).randbytes(3_000_000),
]
"""What is no MessagePack."""

WORDS = [
    b"",
    b"garbage",
    b"\xff\xfe\x00",
    b"-",
    b"-1",
    b"007",
    b"nan",
    b"inf",
    b"1e400",
    b"0x10",
    b"9" * 400,
    b"1:2",
    b"1:x:1:1",
    b":::",
    b"0:99999999999999999999:1",
    b"i:nobody:",
    b"i:no body:1",
    b"c:jobs\n2024-01-01 a line of the log",
    b"c:specific.a!b",
    b"c:",
    b"x" * 5000,
]
"""What may stand where something else is expected: in a hash, a list, a set."""


AUDIENCES = [
    b"|",
    b"||",
    b",,,|,,,",
    b"room|",
    b"room,room,room|",
    b"room|" * 100,
    b"hall,\xff,room|",
    b"room|specific.x!y," * 2,
    b"room," * 100_000 + b"|",
    b"|" + b"room," * 100_000,
    b",".join(b"group-%d" % number for number in range(10_000)) + b"|",
]
"""What may stand where groups and the excluded are expected."""


def heads() -> Iterator[bytes]:
    """Heads in a stream that mean nothing, or more than they may."""
    yield from WORDS
    for kind in (b"d", b"g", b"m", b"k", b"f", b"-", b"z", b"\xff"):
        for expiry in (b"", b"0", b"-5", b"x", b"60000", b"9" * 30, b"9" * 5000):
            for name in (b"", b"room", b"specific.x!y", b"\xff", b"a" * 5000):
                yield b"%b%b|%b" % (kind, expiry, name)
    yield from (b"m60000|" + audience for audience in AUDIENCES)


def put(admin: Any, keys: QueueKeys, channel: str, payload: bytes) -> None:
    """Put a payload into a shared channel as if it had been sent there."""
    shared = keys.shared(channel)
    id = admin.hincrby(shared.marks, "last", 1)
    admin.hset(shared.payloads, id, payload)
    admin.hset(shared.states, id, f"0:0:{int(time.time() * 1000)}")
    admin.rpush(shared.ready, id)


def spoil(admin: "Redis", key: bytes, kind: str, word: bytes) -> None:
    """Put `word` wherever it can stand in a key: as a member, as a field, and as the value of all."""
    client: Any = admin
    if kind == "list":
        client.lpush(key, word)
    elif kind == "set":
        client.sadd(key, word)
    elif kind == "sorted set":
        client.zadd(key, {word: 1})
    elif kind == "string":
        client.set(key, word)
    elif kind == "fields":
        client.hset(key, word or b"-", word)
    else:
        for field in [word or b"-", *client.hkeys(key)]:
            client.hset(key, field, word)
