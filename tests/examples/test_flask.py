"""Views of Flask, served by gunicorn's workers, speak to the sockets of an application of FastAPI."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

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
