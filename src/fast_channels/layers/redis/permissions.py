"""What the user of a layer may do on a server: it is tried, for a user that may do little may not ask what it may do.

Each command is tried on a key of its own, which holds a string for some seconds: a command for anything else changes
nothing there, and whether it is allowed is answered first.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from hiredis import ReplyError

from fast_channels.layers.findings import Finding, Level
from fast_channels.layers.redis.connection import Connection

__all__ = [
    "CLUSTER",
    "CLUSTER_PUBSUB",
    "PUBSUB",
    "QUEUE",
    "REPLICATED",
    "Missing",
    "Protection",
    "missing_on",
    "names_of",
    "permissions",
    "protection",
    "user",
]

KEY: Final = "K"
ADDRESS: Final = "A"

# As rules name them, with arguments: K is the key, A is where it is published.

KEPT_SAFE: Final = ("exists K", "del K", "unlink K", "set K x PX 10000")
"""The first that are tried: whether what is written can be removed, and the string that nothing changes."""

SAFE: Final = ("del", "unlink", "set")
"""With one of them, nothing stays."""

WRITING: Final = frozenset({"hset", "hincrby", "lpush", "rpush", "sadd", "xadd", "zadd"})
"""What makes a key where there is none."""

QUEUE: Final = (
    *KEPT_SAFE,
    *("get K", "pexpire K 10000", "pttl K", "time", "scan 0 COUNT 1", "eval return(1) 0", f"evalsha {'0' * 40} 0"),
    *("hget K f", "hset K f v", "hdel K f", "hexists K f", "hgetall K", "hincrby K f 1", "hmget K f"),
    *("lindex K 0", "llen K", "lpop K", "lpush K v", "lrange K 0 0", "lrem K 0 v", "rpush K v"),
    *("sadd K v", "scard K", "smembers K", "srem K v"),
    *("xadd K * f v", "xinfo|stream K", "xrange K - +", "xread STREAMS K 0", "xsetid K 0-1", "xtrim K MAXLEN 0"),
    *("zadd K 1 v", "zcard K", "zrange K 0 0", "zrangebyscore K 0 0", "zrem K v", "zremrangebyscore K 0 0"),
    *("zscore K v", "spublish A x", "ssubscribe A", "sunsubscribe A"),
)
"""What the queue needs."""

PUBSUB: Final = ("publish A x", "subscribe A", "unsubscribe A", "pubsub|channels A", "pubsub|numsub A")
"""What pub/sub needs."""

CLUSTER: Final = ("cluster|slots", "asking")
"""What each layer needs on a Cluster as well."""

CLUSTER_PUBSUB: Final = (
    *("spublish A x", "ssubscribe A", "sunsubscribe A", "pubsub|shardchannels A", "pubsub|shardnumsub A"),
    *CLUSTER,
)
"""What pub/sub needs there, instead."""

REPLICATED: Final = ("wait 0 1", "info server")
"""What `durability="replicated"` needs as well."""

SUBSCRIBING: Final = frozenset({"subscribe", "unsubscribe", "ssubscribe", "sunsubscribe"})


@dataclass(frozen=True, slots=True)
class Missing:
    """What a user may not do."""

    commands: tuple[str, ...] = ()
    keys: bool = False
    """It may not touch the keys of the layer."""
    channels: bool = False
    """It may not publish or subscribe where the layer does."""
    unknown: tuple[str, ...] = ()
    """Commands that the server does not have."""
    untried: bool = False
    """Whether some were not tried, for what they leave could not be removed."""


def names_of(trials: Iterable[str]) -> list[str]:
    """The commands that are tried, as rules name them."""
    return [trial.split()[0] for trial in trials]


async def missing_on(connection: Connection, trials: Iterable[str], key: str, address: str) -> Missing:
    """Try every command on `key` and at `address`, which nobody else has. Nothing is left there.

    Raises:
        ConnectionError: the connection broke.
    """
    refused: dict[str, str] = {}
    untried = False
    for trial in trials:
        name = trial.split()[0]
        if name in WRITING and all(refused.get(safe) in ("command", "unknown") for safe in SAFE):
            untried = True
            continue
        answer = await _tried(connection, trial, key, address)
        verdict = _verdict(answer)
        if verdict:
            refused[name] = verdict
    for name in ("unlink", "del"):  # one will do
        if "set" in names_of(trials) and name not in refused:
            await _tried(connection, f"{name} K", key, address)
    return Missing(
        tuple(name for name, verdict in refused.items() if verdict == "command"),
        "keys" in refused.values(),
        "channels" in refused.values(),
        tuple(name for name, verdict in refused.items() if verdict == "unknown"),
        untried,
    )


async def _tried(connection: Connection, trial: str, key: str, address: str) -> str:
    """The error that a command got, or nothing."""
    name, *arguments = trial.split()
    words = [{KEY: key, ADDRESS: address}.get(word, word) for word in arguments]
    try:
        if name in SUBSCRIBING:
            await connection.subscribe(name.encode(), [word.encode() for word in words])
        else:
            await connection.execute(*name.split("|"), *words)
    except ReplyError as error:
        return str(error)
    return ""


def _verdict(answer: str) -> str:
    """What an error says about permissions: nothing, most often."""
    if answer.startswith("ERR unknown"):
        return "unknown"
    if not answer.startswith("NOPERM"):
        return ""
    if "to run" in answer:
        return "command"
    return "channels" if "channel" in answer else "keys"


def permissions(name: str, prefix: str, missing: Missing) -> Finding:
    """Whether the user called `name` may do what a layer with `prefix` does."""
    if missing.unknown:
        text = f"the server has no {', '.join(missing.unknown)}"
        return Finding(Level.WRONG, "permissions", text, "let it have them (rename-command takes them away)")
    patterns = [*[f"'~{prefix}|*'"] * missing.keys, *[f"'&{prefix}|*'"] * missing.channels]
    if not missing.commands and not patterns:
        return Finding(Level.OK, "permissions", f"user {name} may do all that the layer does")
    lacks = [*missing.commands, *["its keys"] * missing.keys, *["its channels"] * missing.channels]
    rules = " ".join([*patterns, *(f"'+{command}'" for command in missing.commands)])
    text = f"user {name} lacks {', '.join(lacks)}" + "; what writes was not tried" * missing.untried
    return Finding(Level.WRONG, "permissions", text, f"allow it: ACL SETUSER {name} {rules}")


@dataclass(frozen=True, slots=True)
class Protection:
    """What stands between a server and others who are on its network."""

    host: str
    """Empty for a Unix socket."""
    user: str = "default"
    password: bool = field(default=False, repr=False)
    """Whether there is one."""
    tls: bool = False
    verified: bool = False
    """Whether its certificate is."""
    named: bool = False
    """Whether that must be for its name."""

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return not self.host or self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def protection(found: Protection) -> Finding:
    """Whether others can read along."""
    if found.tls and not found.verified:
        text = "TLS, but the certificate is not verified: who is on the way can be the server"
        return Finding(Level.WRONG, "tls", text, "leave ssl_cert_reqs out, and name the authority with ssl_ca_certs")
    if found.tls and not found.named:
        text = "TLS, but the certificate may be for any name: others whom its authority knows can be the server"
        return Finding(Level.NOTE, "tls", text, "leave ssl_check_hostname out")
    if found.tls:
        return Finding(Level.OK, "tls", "used, the certificate is verified and for this name")
    if found.is_local:
        return Finding(Level.OK, "tls", "not used: nothing leaves this machine")
    what = "messages and the password" if found.password else "messages"
    return Finding(Level.NOTE, "tls", f"not used: who is on the way can read {what}", "use rediss://")


def user(found: Protection) -> Finding:
    """Whether others can do what the layer does."""
    if found.password:
        return Finding(Level.OK, "user", f"{found.user}, with a password")
    if found.is_local:
        return Finding(Level.OK, "user", f"{found.user}, without a password, on this machine")
    text = f"{found.user}, without a password: who reaches the server can read, forge and delete everything"
    return Finding(Level.NOTE, "user", text, "make a user with a password: see the page about security")
