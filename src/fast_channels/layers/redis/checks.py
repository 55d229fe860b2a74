"""Whether a server can keep what the queue promises: it is asked, and what is wrong is logged."""

import logging
from collections.abc import Mapping

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.link import Commands
from fast_channels.layers.redis.rules import complaints

__all__ = ["fields_of", "setting_of", "warn_about"]

logger = logging.getLogger("fast_channels.redis")


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
    for complaint in complaints(fields_of(answer), save):
        logger.warning("%s cannot keep what the queue promises: %s", link.label, complaint)


async def _save(link: Commands) -> str | None:
    try:
        return setting_of(await link.call(b"CONFIG", b"GET", b"save"), "save")
    except ServerRefused:
        return None


def setting_of(answer: Mapping[bytes, bytes], name: str) -> str | None:
    """A setting in the answer to CONFIG GET; None if the server has none of that name."""
    value = dict(answer).get(name.encode())
    return None if value is None else value.decode()


def fields_of(answer: bytes | str) -> dict[str, str]:
    """The fields in the answer to INFO."""
    text = answer if isinstance(answer, str) else answer.decode(errors="replace")
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}
