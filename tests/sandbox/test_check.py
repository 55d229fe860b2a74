"""`--check` finds what does not work: here, two servers that do not share a Redis server, and no workers."""

import re
import socket
from contextlib import ExitStack

import pytest

from sandbox import client
from sandbox.check import job_survives, notified, posted, sent, two_processes, typed_at_one
from sandbox.check.running import check_steps
from sandbox.demo import Demo, Server, address_of, ready, start_server
from sandbox.processes import Child, Family
from sandbox.supervisor import Place
from sandbox.valkey import start_valkey

pytestmark = pytest.mark.timeout(120)


def place(child: Child) -> Place:
    async def start() -> Child:
        raise AssertionError("nothing is started again")

    return Place(child.name, start, child)


async def server_on_a_redis_of_its_own(family: Family, stack: ExitStack, number: int) -> tuple[Server, str]:
    url, _ = await start_valkey(family)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    child = await start_server(family, f"server {number}", listener, {"REDIS_URL": url})
    await ready(family, address_of(listener), child)
    return Server(address_of(listener), place(child)), url


async def test_the_check_fails_when_nothing_goes_from_process_to_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Family() as family:
        with ExitStack() as stack:
            first, url = await server_on_a_redis_of_its_own(family, stack, 1)
            second, _ = await server_on_a_redis_of_its_own(family, stack, 2)
            sender = await family.start_python("sender", "sandbox.sender", env={"REDIS_URL": url})
            demo = Demo("two Redis servers", (first, second), (), place(sender))
            assert await check_steps(demo, [two_processes]) == 0
            monkeypatch.setattr(client, "PATIENCE", 1)
            assert await check_steps(demo, [typed_at_one, posted, sent, notified, job_survives]) == 5
    printed = capsys.readouterr().out
    assert "ok     The servers are two processes" in printed
    assert "FAILED What is typed at one server appears at the other." in printed
    assert re.search(r"/ws/chat/check-\w+ showed nothing like {'text': 'hello \w+'", printed)
