"""A task of Celery tells a WebSocket how far it is."""

import json
from importlib.metadata import version

import pytest
from packaging.version import Version

from tests.examples.programs import Program, hear, uvicorn, websocket

PROGRESS = [{"page": page, "of": 3} for page in (1, 2, 3)]
WORKER = ["celery", "-A", "examples.celery.tasks", "worker", "--loglevel", "INFO", "--concurrency", "2"]


@pytest.mark.skipif(
    Version(version("redis")) < Version("6.1"), reason="Celery takes no redis-py that is older than 6.1"
)
def test_tasks_report_to_whoever_asked(redis_url: str) -> None:
    with (
        uvicorn("examples.celery.app:app", REDIS_URL=redis_url) as server,
        Program(*WORKER, REDIS_URL=redis_url) as worker,
        websocket(server, "/ws/report") as one,
        websocket(server, "/ws/report") as other,
    ):
        worker.says(r" ready\.")
        for _ in range(2):  # the processes of the pool go on with the connections that they have
            for socket in (one, other):
                socket.send(json.dumps({"pages": 3}))
            assert hear(one, 3) == hear(other, 3) == PROGRESS
        assert worker.end() == 0
        assert " raised unexpected" not in worker.text
        server.end()
        assert "Finished server process" in server.text
