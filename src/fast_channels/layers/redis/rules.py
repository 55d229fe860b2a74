"""How the answers of a server are judged: pure rules, for what a layer warns about and for who examines it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fast_channels.layers.findings import Finding, Level

__all__ = [
    "OLDEST_REDIS",
    "OLDEST_VALKEY",
    "Clock",
    "buffers",
    "clock",
    "cluster_mode",
    "complaints",
    "eviction",
    "in_bytes",
    "latency",
    "memory",
    "percentile",
    "persistence",
    "version",
]

OLDEST_REDIS: Final = (7, 0)
OLDEST_VALKEY: Final = (7, 2)

FAR: Final = 0.005
"""Seconds of a round trip from which on the server is not near."""

SLOW: Final = 1.0
"""Seconds of a round trip with which leases, which are renewed each second and last four, are in danger."""

FULL: Final = 0.9
"""The part of its memory from which on a server is nearly full."""

OFF: Final = 2.0
"""Seconds by which clocks differ that nobody looks after."""

OWN_CLASSES: Final = {
    "normal": "a process that does not read what it asked for",
    "pubsub": "a process that does not read what is published",
}
"""The classes of clients that a layer has, and what a limit does to whom."""


def complaints(info: Mapping[str, str], save: str | None) -> list[str]:
    """What a server cannot keep of the queue's promises, each with what to do about it.

    Args:
        info: the fields of INFO.
        save: the setting `save`; None if it could not be asked for.
    """
    found = (version(info), eviction(info, keeps=True), persistence(info, save, keeps=True))
    return [f"{finding.text}; {finding.advice}" for finding in found if finding.level is Level.WRONG]


def version(info: Mapping[str, str]) -> Finding:
    """Whether it has what the layers need."""
    name, numbers, oldest = _version(info)
    if not numbers:
        return Finding(Level.NOTE, "version", f"it does not say which {name} it is")
    text = f"{name} {'.'.join(map(str, numbers))}"
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        return Finding(
            Level.WRONG, "version", f"it is {text}, which lacks what the layer needs", f"use {wanted} or later"
        )
    return Finding(Level.OK, "version", text)


def _version(info: Mapping[str, str]) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Name and version of a server, and the oldest of its kind that will do."""
    if "valkey_version" in info:  # it also names the version of Redis that it is like
        return "Valkey", _numbers(info["valkey_version"]), OLDEST_VALKEY
    return "Redis", _numbers(info.get("redis_version", "")), OLDEST_REDIS


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def cluster_mode(info: Mapping[str, str], *, expected: bool) -> Finding | None:
    """Whether it is a node of a Cluster, and the layer knows; None if that is as it should be."""
    if expected or info.get("cluster_enabled") != "1":
        return None
    return Finding(Level.WRONG, "topology", "it is a node of a Cluster", "give the layer cluster=True")


def eviction(info: Mapping[str, str], *, keeps: bool) -> Finding:
    """Whether it throws messages out when its memory is full. `keeps`: the layer keeps messages there."""
    policy = info.get("maxmemory_policy", "noeviction")
    if not keeps:
        return Finding(Level.OK, "eviction", f"maxmemory-policy is {policy}: pub/sub keeps nothing that could be lost")
    if policy == "noeviction":
        return Finding(Level.OK, "eviction", "maxmemory-policy is noeviction")
    text = f"maxmemory-policy is {policy}: when its memory is full it drops messages"
    return Finding(Level.WRONG, "eviction", text, "set it to noeviction")


def persistence(info: Mapping[str, str], save: str | None, *, keeps: bool) -> Finding:
    """What is left after a restart. `save` is None if it could not be asked for."""
    subject = "persistence"
    if not keeps:
        return Finding(Level.OK, subject, "pub/sub needs none: a message is live or lost")
    failed = [field for field in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(field) == "err"]
    if failed:
        return Finding(
            Level.WRONG, subject, f"its last write to disk failed ({failed[0]})", "look into its log: is the disk full?"
        )
    if info.get("aof_enabled") == "1":
        return Finding(Level.OK, subject, "appendonly is yes")
    if info.get("aof_enabled") == "0" and save == "":
        text = "it keeps nothing on disk: when it is restarted, every message is lost"
        return Finding(Level.WRONG, subject, text, "set appendonly to yes")
    text = f"snapshots only ({save or 'its setting save is not known'}): a crash loses what came after the last one"
    return Finding(Level.NOTE, subject, text, "set appendonly to yes")


def memory(info: Mapping[str, str]) -> Finding:
    """How much room is left."""
    used, limit = _whole(info.get("used_memory")), _whole(info.get("maxmemory"))
    if not limit:
        return Finding(Level.OK, "memory", f"{in_bytes(used)} used, no maxmemory")
    text = f"{in_bytes(used)} of {in_bytes(limit)} used"
    if used >= FULL * limit:
        return Finding(Level.WRONG, "memory", f"{text}: nearly full", "raise maxmemory")
    return Finding(Level.OK, "memory", text)


def buffers(setting: str, largest: int) -> list[Finding]:
    """What `client-output-buffer-limit` does to the processes of a layer, whose messages have at most `largest` bytes.

    The setting is `<class> <hard limit> <soft limit> <seconds> …`.
    """
    words = setting.split()
    found = []
    for name, *numbers in zip(*(words[start::4] for start in range(4)), strict=False):
        hard, soft, seconds = map(_whole, numbers)
        if name in OWN_CLASSES:
            found.append(_buffer(name, hard, soft, seconds, largest))
    return found


def _buffer(name: str, hard: int, soft: int, seconds: int, largest: int) -> Finding:
    subject = f"{name} buffer"
    if not hard and not soft:
        return Finding(Level.OK, subject, "client-output-buffer-limit has no limit")
    limits = [*[in_bytes(hard)] * bool(hard), *[f"{in_bytes(soft)} for {seconds} s"] * bool(soft)]
    text = f"{OWN_CLASSES[name]} is cut off at {' or '.join(limits)}"
    if hard and hard < largest:
        advice = f"raise it: client-output-buffer-limit {name} {2 * largest} {largest} 60"
        return Finding(Level.WRONG, subject, f"{text}, and one message may have {in_bytes(largest)}", advice)
    return Finding(Level.OK, subject, text)


def latency(round_trips: Sequence[float]) -> Finding:
    """How far away it is, from the seconds of some round trips."""
    p50, p99 = percentile(round_trips, 50), percentile(round_trips, 99)
    text = f"p50 {_ms(p50)}, p99 {_ms(p99)} ({len(round_trips)} round trips)"
    if p99 >= SLOW:
        advice = "a process counts as dead after 4 s: bring the server nearer, or see what keeps it busy (SLOWLOG GET)"
        return Finding(Level.WRONG, "latency", text, advice)
    if p50 >= FAR:
        return Finding(Level.NOTE, "latency", text, "each send waits for one: is the server in the same region?")
    return Finding(Level.OK, "latency", text)


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the clock of a server is ahead of ours, in seconds, and how exactly that is known."""

    ahead: float
    within: float


def clock(found: Clock) -> Finding:
    """Whether it shows our time. Nothing that is promised hangs on it."""
    text = f"{abs(found.ahead):.3f} s {'ahead of' if found.ahead >= 0 else 'behind'} this machine"
    if abs(found.ahead) <= OFF + found.within:
        return Finding(Level.OK, "clock", text)
    text += ": messages expire by the server's clock alone, but what the logs say does not fit together"
    return Finding(Level.NOTE, "clock", text, "let NTP look after both clocks")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def in_bytes(number: int) -> str:
    """A number of bytes for people."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{number} bytes"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
