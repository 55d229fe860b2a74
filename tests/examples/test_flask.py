"""Views of Flask, served by gunicorn's workers, speak to the sockets of an application of FastAPI."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection

from fast_channels.layers.redis import RedisPubSubChannelLayer
from tests.examples.programs import Program, address_of, hear, uvicorn, websocket
from tests.support.waiting import PATIENCE

WORKERS = {
    "sync": ["--preload", "--workers", "2"],
    "threads": ["--worker-class", "gthread", "--threads", "4"],
}


def gunicorn(application: str, *options: str, **environment: str) -> Program:
    return Program("gunicorn", application, "--bind", "127.0.0.1:0", *options, **environment)


@pytest.mark.parametrize("kind", WORKERS)
def test_orders_reach_the_live_page(kind: str, redis_url: str) -> None:
    with (
        gunicorn("examples.flask.shop:app", *WORKERS[kind], REDIS_URL=redis_url) as shop,
        uvicorn("examples.flask.live:app", REDIS_URL=redis_url) as live,
        websocket(live, "/ws/orders") as one,
        websocket(live, "/ws/orders") as other,
    ):
        url = f"http://{address_of(shop)}/orders"

        def order(item: int) -> Any:
            return httpx.post(url, json={"item": item}, timeout=PATIENCE).status_code

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(order, range(20))) == {201}
        for socket in (one, other):
            assert sorted(event["item"] for event in hear(socket, 20)) == list(range(20))
        assert shop.end() == 0
        assert "Traceback" not in shop.text


def processes_in(redis_url: str, group: str) -> int:
    """How many processes hear what is sent to a group."""

    async def look() -> dict[str, int]:
        async with RedisPubSubChannelLayer(hosts=[redis_url], prefix="shop") as layer:
            subscribers: dict[str, int] = (await layer.inspect())["servers"][0]["subscribers"]
            return subscribers

    return max((count for address, count in asyncio.run(look()).items() if group in address), default=0)


def test_the_live_page_in_processes_that_were_forked(redis_url: str) -> None:
    """The layer is made before the fork; each process hears with an identity of its own."""
    workers = ["--preload", "--workers", "2", "--worker-class", "uvicorn_worker.UvicornWorker"]
    with (
        gunicorn("examples.flask.live:app", *workers, REDIS_URL=redis_url) as live,
        gunicorn("examples.flask.shop:app", REDIS_URL=redis_url) as shop,
        ExitStack() as stack,
    ):
        sockets: list[ClientConnection] = []
        while processes_in(redis_url, "orders") < 2:
            assert len(sockets) < 300, "all are served by the same process"
            sockets.append(stack.enter_context(websocket(live, "/ws/orders")))
        httpx.post(f"http://{address_of(shop)}/orders", json={"item": 1}, timeout=PATIENCE)
        assert all(hear(socket, 1) == [{"item": 1}] for socket in sockets)
