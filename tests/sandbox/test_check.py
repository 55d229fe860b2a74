"""`--check` finds what does not work: here, two servers that do not share a Redis server."""

import re
import socket

import pytest

from sandbox import client
from sandbox.check import check, notified, posted, sent, two_processes, typed_at_one
from sandbox.demo import Demo, Server, ready, start_server
from sandbox.processes import Family
from sandbox.valkey import start_valkey

pytestmark = pytest.mark.timeout(120)


async def server_on_a_redis_of_its_own(family: Family, number: int) -> tuple[Server, str]:
    url, _ = await start_valkey(family)
    listener = socket.create_server(("127.0.0.1", 0))
    server = await start_server(family, f"server {number}", listener, {"REDIS_URL": url})
    await ready(family, server)
    return server, url


async def test_the_check_fails_when_nothing_goes_from_process_to_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Family() as family:
        first, url = await server_on_a_redis_of_its_own(family, 1)
        second, _ = await server_on_a_redis_of_its_own(family, 2)
        sender = await family.start_python("sender", "sandbox.sender", env={"REDIS_URL": url})
        demo = Demo("two Redis servers", (first, second), sender)
        assert await check(demo, [two_processes]) == 0
        monkeypatch.setattr(client, "PATIENCE", 1)
        assert await check(demo, [typed_at_one, posted, sent, notified]) == 1
    printed = capsys.readouterr().out
    assert "1 of 1 steps went well" in printed
    assert "0 of 4 steps went well" in printed
    assert "FAILED What is typed at one server appears at the other." in printed
    assert re.search(r"/ws/chat/check-\w+ showed nothing like {'text': 'hello \w+'", printed)
