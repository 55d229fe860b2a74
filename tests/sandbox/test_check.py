"""`--check` finds what does not work: here, two servers that do not share a Redis server."""

import socket

import pytest

from sandbox import client
from sandbox.check import check
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
    monkeypatch.setattr(client, "PATIENCE", 2)
    async with Family() as family:
        first, url = await server_on_a_redis_of_its_own(family, 1)
        second, _ = await server_on_a_redis_of_its_own(family, 2)
        sender = await family.start_python("sender", "sandbox.sender", env={"REDIS_URL": url})
        assert await check(Demo("two Redis servers", (first, second), sender)) == 1
    printed = capsys.readouterr().out
    assert "FAILED What is typed at one server appears at the other." in printed
    assert "FAILED What is posted over HTTP appears at both servers." in printed
    assert "FAILED What a process that is no server sends appears at both servers." in printed
    assert "FAILED A notification reaches every page" in printed
    assert "ok     A room that cannot be is refused" in printed
