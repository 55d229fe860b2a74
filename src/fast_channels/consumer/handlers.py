"""Which method handles a message: rules about names, and nothing else."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["PROTOCOL_HANDLERS", "get_handler_name", "handler_table", "reserved_names"]

PROTOCOL_HANDLERS: Final = frozenset(
    {
        "http_disconnect",
        "http_request",
        "websocket_close",
        "websocket_connect",
        "websocket_disconnect",
        "websocket_receive",
        "websocket_send",
    }
)
"""The methods of the framework that handle messages; all its others are out of a message's reach."""

_SET_ON_INSTANCES: Final = frozenset({"base_send", "channel_name", "scope"})
_FRAMEWORK: Final = __name__.partition(".")[0]


def get_handler_name(message: Mapping[str, Any]) -> str:
    """The name of the method that handles `message`: `chat_message` for the type `chat.message`.

    Raises:
        ValueError: the message has no type, or one that is no string or begins with an underscore.
    """
    if not isinstance(message, Mapping) or "type" not in message:
        raise ValueError("Incoming message has no 'type' attribute")
    kind = message["type"]
    if not isinstance(kind, str):
        raise ValueError(f"Malformed type in message (a string is needed, not {kind!r:.80})")
    name = kind.replace(".", "_")
    if name.startswith("_"):
        raise ValueError(f"Malformed type in message (leading underscore): {kind!r:.80}")
    return name


def reserved_names(consumer_class: type) -> frozenset[str]:
    """What no message may call on `consumer_class`: whatever the framework defines and uses itself.

    A subclass that overrides such a method does not make a handler of it.
    """
    names = set(_SET_ON_INSTANCES)
    for base in consumer_class.__mro__:
        if base.__module__.partition(".")[0] == _FRAMEWORK:
            names.update(vars(base))
    return frozenset(names - PROTOCOL_HANDLERS)


def handler_table(consumer_class: type, reserved: frozenset[str]) -> dict[str, str]:
    """The name of the handler for each type of message: `chat.message` and `chat_message` mean `chat_message`."""
    table = {}
    for name in dir(consumer_class):
        if not name.startswith("_") and name not in reserved and callable(getattr(consumer_class, name, None)):
            table[name] = table[name.replace("_", ".")] = name
    return table
