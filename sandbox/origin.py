"""Only pages of this very server may do something here.

The demo listens on this machine alone, but every web page that is open in a browser of this machine can reach it.
"""

from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["SameOrigin", "is_same_origin", "require_page"]

HARMLESS = {"GET", "HEAD"}


def is_same_origin(headers: Headers) -> bool | None:
    """Whether a request comes from a page of the server that it asks; None if it comes from no page, as from curl."""
    origins = headers.getlist("origin")
    if not origins:
        return None
    try:
        return len(origins) == 1 and urlsplit(origins[0]).netloc == headers["host"]
    except (KeyError, ValueError):
        return False


def require_page(request: Request) -> None:
    """A dependency of what only the page may do: stopping processes.

    Raises:
        HTTPException: 403, the request does not come from a page of this server.
    """
    if not is_same_origin(request.headers):
        raise HTTPException(403, "Only the page of this server may do that.")


class SameOrigin:
    """ASGI middleware: refuses WebSockets, and requests that change something, of pages that are not of this server.

    What comes from no page passes. It stands behind a check of the Host header: without that, a foreign name that leads
    to this machine would be taken for our own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what may pass."""
        kind = scope["type"]
        asks = kind == "websocket" or (kind == "http" and scope["method"] not in HARMLESS)
        if not asks or is_same_origin(Headers(scope=scope)) is not False:
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        else:
            refusal = JSONResponse({"detail": "This comes from the page of somebody else."}, status_code=403)
            await refusal(scope, receive, send)
