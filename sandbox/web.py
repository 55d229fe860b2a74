"""One HTTP request to a server on this machine, with nothing but the standard library."""

import asyncio
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

__all__ = ["fetch"]

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

opener = build_opener(ProxyHandler({}))


async def fetch(url: str, body: Any = None, origin: str | None = None) -> tuple[int, Any]:
    """The status and the JSON of `url`: a POST of `body` if there is one, else a GET.

    With `origin`, as from a page of that address.

    Raises:
        OSError: no answer within `TIMEOUT` seconds.
    """
    return await asyncio.to_thread(_fetch, url, body, origin)


def _fetch(url: str, body: Any, origin: str | None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **({"origin": origin} if origin else {})}
    request = Request(url, data, headers)
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")
