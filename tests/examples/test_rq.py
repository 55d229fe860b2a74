"""A job of RQ tells a WebSocket how far it is."""

import json

from tests.examples.programs import Program, hear, uvicorn, websocket

PROGRESS = [{"page": page, "of": 3} for page in (1, 2, 3)]


def test_jobs_report_to_whoever_asked(redis_url: str) -> None:
    with (
        uvicorn("examples.rq.app:app", REDIS_URL=redis_url) as server,
        Program("rq", "worker", "--url", redis_url, REDIS_URL=redis_url) as worker,
        websocket(server, "/ws/report") as one,
        websocket(server, "/ws/report") as other,
    ):
        worker.says("Listening on default")
        for socket in (one, other, one):
            socket.send(json.dumps({"pages": 3}))
        assert hear(one, 6) == 2 * PROGRESS
        assert hear(other, 3) == PROGRESS
        worker.end()
        assert "Error" not in worker.text
        server.end()
        assert "Finished server process" in server.text
