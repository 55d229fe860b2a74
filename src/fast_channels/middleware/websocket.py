"""Who may open a WebSocket: middleware that looks at the origin of the page."""

import warnings
from collections.abc import Iterable
from typing import Any
from urllib.parse import ParseResult, urlparse

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import DenyConnection
from fast_channels.middleware.origins import DEFAULT_PORTS, matches, parse_origin, parse_pattern
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelApplication, ChannelScope

__all__ = ["OriginValidator", "WebsocketDenier"]


class WebsocketDenier(AsyncWebsocketConsumer):
    """A consumer that refuses every connection."""

    async def connect(self) -> None:
        """Refuse."""
        raise DenyConnection


class OriginValidator:
    """Refuses WebSockets that were opened by pages of origins that are not allowed.

    A browser tells the origin of the page, and no page can change it: this is what keeps somebody else's page from
    using your visitors' sessions. A missing, `null`, malformed or second Origin is refused, unless `*` is allowed.

    Args:
        application: what serves the connections that are allowed.
        allowed_origins: `*` (any), `example.com` (any scheme and port), `.example.com` (its subdomains too),
            `example.com:8000`, `https://example.com`, `https://.example.com:8443`. With a scheme and no port, the
            scheme's own port is meant.

    Raises:
        ValueError: on creation, if `allowed_origins` is one string; on a call, if the scope is no WebSocket's.
        TypeError: an allowed origin that is not a string.
    """

    def __init__(self, application: ChannelApplication, allowed_origins: Iterable[str]) -> None:
        if isinstance(allowed_origins, str) and allowed_origins != "*":
            raise ValueError(f"allowed_origins must be a list of origins, not a single string: [{allowed_origins!r}]")
        self.application = application
        self.allowed_origins = list(allowed_origins)
        for pattern in self.allowed_origins:
            _check_pattern(pattern)

    async def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Any:
        """Serve the connection, or refuse it."""
        if scope["type"] != "websocket":
            raise ValueError(
                f"OriginValidator guards WebSockets only, and got a scope of type {scope['type']!r}: "
                "wrap the application of the WebSocket route in it"
            )
        allowed = self.valid_origin(_origin_in(scope))
        application = self.application if allowed else WebsocketDenier()
        return await application(scope, receive, send)

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether a connection from the origin is allowed; None stands for none, or for one that is malformed."""
        return self.validate_origin(parsed_origin)

    def validate_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether any allowed origin is `*` or matches."""
        return any(
            pattern == "*" or self.match_allowed_origin(parsed_origin, pattern) for pattern in self.allowed_origins
        )

    def match_allowed_origin(self, parsed_origin: ParseResult | None, pattern: str) -> bool:
        """Whether the origin matches one allowed origin that is not `*`."""
        origin = None if parsed_origin is None else parse_origin(parsed_origin.geturl())
        wanted = parse_pattern(pattern)
        return origin is not None and wanted is not None and matches(origin, wanted)

    def get_origin_port(self, origin: ParseResult) -> int | None:
        """The port of the origin, or the one that its scheme implies; None if there is neither, or no such port."""
        try:
            port = origin.port
        except ValueError:
            return None
        return DEFAULT_PORTS.get(origin.scheme) if port is None else port


def _origin_in(scope: ChannelScope) -> ParseResult | None:
    """The connection's origin, if there is exactly one and it is well-formed."""
    values = [value for name, value in scope.get("headers", ()) if name.lower() == b"origin"]
    if len(values) != 1:
        return None
    text = values[0].decode("latin-1")
    return None if parse_origin(text) is None else urlparse(text)


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"an allowed origin is a string, not {type(pattern).__name__}")
    if pattern != "*" and parse_pattern(pattern) is None:
        hint = "; for subdomains write '.example.com'" if "*" in pattern else ""
        warnings.warn(f"no origin can match the allowed origin {pattern!r}{hint}", stacklevel=3)
