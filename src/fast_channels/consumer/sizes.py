"""How large what a client sends, or is sent, may be."""

import logging
from typing import TYPE_CHECKING

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers.mailbox import is_worth_a_line

if TYPE_CHECKING:
    from fast_channels.consumer.base import AsyncConsumer

__all__ = ["check_size", "note_too_large", "size_of", "too_large"]

logger = logging.getLogger("fast_channels.consumer")

_counts: dict[str, int] = {}


def size_of(data: str | bytes) -> int:
    """The bytes of a frame: of text, those of its UTF-8."""
    return len(data) if isinstance(data, bytes) else len(data.encode(errors="surrogatepass"))


def check_size(data: str | bytes, limit: int) -> None:
    """Raise `MessageTooLarge` if a frame is larger than `limit`."""
    size = size_of(data)
    if size > limit:
        text = f"the frame is {size} bytes; the consumer's max_message_size is {limit} bytes"
        raise MessageTooLarge(text, size=size, limit=limit)


def note_too_large(consumer: "AsyncConsumer", size: int, limit: int) -> None:
    """Count what a client sent that is too large for consumers of this class; a flood is a few lines of the log."""
    name = type(consumer).__qualname__
    _counts[name] = count = _counts.get(name, 0) + 1
    if is_worth_a_line(count):
        logger.warning(
            "%s: a client sent %d bytes, more than the limit of %d: refused (%d until now)", name, size, limit, count
        )


def too_large() -> dict[str, int]:
    """How many messages and bodies of clients were too large in this process, by the name of the consumer's class."""
    return dict(_counts)
