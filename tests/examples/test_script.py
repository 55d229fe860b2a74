"""A plain script speaks to everybody who listens."""

from tests.examples.programs import Program, uvicorn, websocket
from tests.support.waiting import PATIENCE

ANNOUNCE = ["python", "-m", "examples.script.announce", "We close at six", "Good night"]


def test_a_script_announces_to_every_socket(redis_url: str) -> None:
    with (
        uvicorn("examples.script.board:app", REDIS_URL=redis_url) as server,
        websocket(server, "/ws/board") as one,
        websocket(server, "/ws/board") as other,
        Program(
            "python", "-m", "examples.script.announce", "We close at six", "Good night", REDIS_URL=redis_url
        ) as script,
    ):
        for socket in (one, other):
            assert [socket.recv(timeout=PATIENCE) for _ in range(2)] == ["We close at six", "Good night"]
        assert script.process.wait(PATIENCE) == 0
        assert script.text == ""
