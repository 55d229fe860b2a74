"""A job of arq tells a WebSocket how far it is."""

import json

import pytest

from tests.examples.programs import Program, hear, uvicorn, websocket
from tests.support.environments import python_with

PROGRESS = [{"page": page, "of": 3} for page in (1, 2, 3)]


@pytest.fixture(scope="session")
def python() -> str:
    return python_with("arq")


@pytest.mark.timeout(600)  # the environment is made the first time
def test_jobs_report_to_whoever_asked(redis_url: str, python: str) -> None:
    with (
        uvicorn("examples.arq.app:app", python=python, REDIS_URL=redis_url) as server,
        Program("arq", "examples.arq.worker.WorkerSettings", python=python, REDIS_URL=redis_url) as worker,
        websocket(server, "/ws/report") as one,
        websocket(server, "/ws/report") as other,
    ):
        worker.says("Starting worker")
        for socket in (one, other):
            socket.send(json.dumps({"pages": 3}))
        assert hear(one, 3) == hear(other, 3) == PROGRESS
        worker.end()
        assert " 0 failed " in worker.text
        server.end()
        assert "Finished server process" in server.text
