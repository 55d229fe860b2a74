"""Each part of the tutorial runs as it stands there, on real servers, with the commands that it prints."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from fast_channels.testing.server import ServerProcess
from tests.docs.pages import ROOT, Page
from tests.docs.running import PATIENCE, Running, commands, hear, read_until

FOLDER = ROOT / "docs" / "tutorial"
PARTS = sorted(path.name for path in FOLDER.glob("[0-9]-*.md"))

pytestmark = pytest.mark.timeout(180)


def part(number: int) -> Page:
    return Page(f"docs/tutorial/{PARTS[number - 1]}")


@pytest.fixture
def after(tmp_path: Path) -> Callable[..., Running]:
    """What a reader has in the folder after a part: the files of that one, and of those before."""

    def after(number: int, **environment: str) -> Running:
        for each in range(1, number + 1):
            part(each).write_files(tmp_path)
        return Running(tmp_path, **environment)

    return after


@asynccontextmanager
async def servers_of(running: Running, number: int) -> AsyncIterator[Running]:
    """The application after a part, with the servers that the part starts."""
    async with running:
        await asyncio.gather(*map(running.start, commands(part(number), "uvicorn")))
        yield running


def test_the_parts_are_in_the_table_in_their_order() -> None:
    text = Page("docs/tutorial/index.md").text
    places = [text.rindex(f"]({name})") for name in PARTS]
    assert len(PARTS) == 7
    assert places == sorted(places)


def test_the_code_of_what_is_left_out_is_where_the_index_says() -> None:
    paths = re.findall(r"`(sandbox/[^`]+)`", Page("docs/tutorial/index.md").text)
    assert {"sandbox/reports.py", "sandbox/presence.py", "sandbox/consumers/notifications.py"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("number", range(1, len(PARTS)))
def test_each_part_leads_to_the_next(number: int) -> None:
    assert f"({PARTS[number]}).\n" in part(number).text.splitlines(keepends=True)[-1]


async def test_part_1_a_consumer_answers(after: Callable[..., Running]) -> None:
    async with servers_of(after(1), 1) as running:
        client = await running.client("/ws/system")
        assert str(await client.recv()).startswith("Welcome. Process ")
        await client.send("hello")
        await hear(client, "You said: hello")


async def test_part_2_who_is_in_a_room_hears_it(after: Callable[..., Running]) -> None:
    async with servers_of(after(2), 2) as running:
        ann, bob, cid = [await running.client(f"/ws/rooms/{who}") for who in ("red/Ann", "red/Bob", "blue/Cid")]
        await hear(ann, "Ann has joined", "Bob has joined")
        await bob.send("hello")
        await hear(ann, "Bob: hello")
        await bob.close()
        await hear(ann, "Bob has left")
        await cid.send("alone")
        assert await hear(cid, "Cid: alone") == ["Cid has joined", "Cid: alone"]
        refused = await running.client("/ws/rooms/very%20red/Dee")
        with pytest.raises(ConnectionClosed) as closed:
            await refused.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400


async def test_part_3_two_processes_are_one_room(after: Callable[..., Running], redis_server: ServerProcess) -> None:
    async with servers_of(after(3, REDIS_URL=redis_server.url), 3) as running:
        ann, bob = await running.client("/ws/rooms/red/Ann"), await running.client("/ws/rooms/red/Bob", "8001")
        await hear(ann, "Bob has joined")
        await ann.send("hello")
        await hear(bob, "Ann: hello")


async def test_part_3_before_it_two_processes_were_two_rooms(after: Callable[..., Running]) -> None:
    """The twin: with the layer of part 2, what the page says at its beginning is so."""
    async with servers_of(after(2), 3) as running:
        ann, bob = await running.client("/ws/rooms/red/Ann"), await running.client("/ws/rooms/red/Bob", "8001")
        await bob.send("hello")
        await hear(bob, "Bob: hello")
        await ann.send("alone")
        assert await hear(ann, "Ann: alone") == ["Ann has joined", "Ann: alone"]


async def test_part_4_an_endpoint_and_a_script_notify_everybody(after: Callable[..., Running], redis_url: str) -> None:
    async with servers_of(after(4, REDIS_URL=redis_url), 4) as running:
        client = await running.client("/ws/notifications", "8001")
        [post], [script] = commands(part(4), "curl"), commands(part(4), "python")
        await running.post(post)
        await hear(client, "hello")
        await running.run(script)
        await hear(client, "from a script")


async def test_part_5_a_job_is_done_though_its_worker_is_killed(after: Callable[..., Running], redis_url: str) -> None:
    async with servers_of(after(5, REDIS_URL=redis_url), 5) as running:
        first, second = commands(part(5), "fast-channels")
        client = await running.client("/ws/jobs")
        worker = await running.start(first)
        await read_until("worker started", worker)
        await client.send("50")
        await hear(client, "1 of 50", "2 of 50", "3 of 50")
        worker.kill()  # before the other one has started, which may take a while
        await running.start(second)
        heard = await hear(client, "1 of 50", "2 of 50", "3 of 50", "50 of 50", "done")
        assert heard[-51:] == [*(f"{number} of 50" for number in range(1, 51)), "done"]


async def test_part_6_what_was_said_while_the_server_was_away_arrives(after: Callable[..., Running]) -> None:
    words = next(line for line in commands(part(6), "docker")).split("valkey-server ")[1].split()
    config = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
    with ServerProcess(config) as server:
        async with servers_of(after(6, REDIS_URL=server.url), 6) as running:
            ann, bob = [
                await running.client(f"/ws/reliable/red/{who}", port)
                for who, port in (("Ann", "8000"), ("Bob", "8001"))
            ]
            await hear(ann, "Bob has joined")
            await asyncio.to_thread(server.stop)
            await ann.send("said while it was away")
            await asyncio.to_thread(server.start)
            await hear(bob, "Ann: said while it was away")
            await asyncio.to_thread(server.stop)
            await ann.send("too late")
            async with asyncio.timeout(PATIENCE):
                assert "Not sent: " in str([await ann.recv() for _ in range(2)][-1])
            await asyncio.to_thread(server.start)


async def test_part_7_the_suite_passes(after: Callable[..., Running]) -> None:
    async with after(7) as running:
        [line] = commands(part(7), "pytest")
        assert "5 passed" in await running.run(f"{line} -W error -p no:cacheprovider")
