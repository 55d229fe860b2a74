"""For tests of applications: communicators, fixtures for pytest, and the suite that every layer passes.

The plugin (`fast_channels.testing.pytest_plugin`) is found by pytest; `fast_channels.testing.server` starts real
servers, and
`fast_channels.testing.contract` holds a layer of your own to what every layer promises.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fast_channels.testing.application import ApplicationCommunicator
    from fast_channels.testing.http import HttpCommunicator
    from fast_channels.testing.websocket import WebsocketCommunicator

__all__ = ["ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"]

_HOMES = {
    "ApplicationCommunicator": "fast_channels.testing.application",
    "HttpCommunicator": "fast_channels.testing.http",
    "WebsocketCommunicator": "fast_channels.testing.websocket",
}


def __getattr__(name: str) -> Any:
    # imported on use: pytest imports this package with its plugin, in every project that has the library installed
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
