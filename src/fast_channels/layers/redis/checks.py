"""Whether a server can keep what the queue promises."""

import logging
from collections.abc import Mapping
from typing import Final

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.link import Commands

__all__ = ["complaints", "warn_about"]

logger = logging.getLogger("fast_channels.redis")

OLDEST_REDIS: Final = (7, 0)
OLDEST_VALKEY: Final = (7, 2)


def complaints(info: Mapping[str, str], save: str | None) -> list[str]:
    """What a server cannot keep, each with what to do about it.

    Args:
        info: the fields of INFO.
        save: the setting `save`; None if it could not be asked for.
    """
    found = []
    name, version, oldest = _version(info)
    if version and version < oldest:
        wanted = ".".join(map(str, oldest))
        found.append(
            f"it is {name} {'.'.join(map(str, version))}, which lacks what the layer needs: use {wanted} or later"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: when its memory is full it drops messages; set it to noeviction")
    if info.get("aof_enabled") == "0" and save == "":
        found.append("it keeps nothing on disk: when it is restarted, every message is lost; set appendonly to yes")
    return found


def _version(info: Mapping[str, str]) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Name and version of a server, and the oldest of its kind that will do."""
    if "valkey_version" in info:  # it also names the version of Redis that it is like
        return "Valkey", _numbers(info["valkey_version"]), OLDEST_VALKEY
    return "Redis", _numbers(info.get("redis_version", "")), OLDEST_REDIS


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


async def warn_about(link: Commands) -> None:
    """Log what the server of `link` cannot keep. What it will not say is taken to be well.

    Raises:
        ServerUnreachable, OutcomeUnknown: it did not answer.
    """
    try:
        answer = await link.call(b"INFO")
    except ServerRefused as error:  # not every user may ask
        logger.debug("%s does not say how it is set up: %s", link.label, error)
        return
    save = await _save(link)
    for complaint in complaints(_fields(answer), save):
        logger.warning("%s cannot keep what the queue promises: %s", link.label, complaint)


async def _save(link: Commands) -> str | None:
    try:
        answer = await link.call(b"CONFIG", b"GET", b"save")
    except ServerRefused:
        return None
    value = dict(answer).get(b"save")
    return None if value is None else value.decode()


def _fields(answer: bytes | str) -> dict[str, str]:
    text = answer if isinstance(answer, str) else answer.decode(errors="replace")
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}
