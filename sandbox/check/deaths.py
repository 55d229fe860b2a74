"""The steps of the check in which processes die, as a page's buttons make them."""

import asyncio
from typing import Any
from uuid import uuid4

from sandbox.check.running import Step, kill, some_text
from sandbox.client import Lost, NotSeen, Page
from sandbox.demo import Demo

__all__ = ["DEATHS", "job_survives", "line_survives"]

LINES = 5


async def job_survives(demo: Demo) -> str:
    """A worker is killed, and its job is finished by another process."""
    address = demo.servers[1].address
    async with Page(address, "/ws/jobs") as page:
        await page.say(count=1, seconds=2)
        [identifier] = (await page.sees(type="started"))["ids"]
        begun = (await page.sees(type="job", job=lambda job: job["id"] == identifier and job["step"] > 3))["job"]
        killed = begun["workers"][-1]
        await kill(address, killed.partition(",")[0])
        done = (await page.sees(type="job", job=lambda job: job["id"] == identifier and job["state"] == "done"))["job"]
    if done["workers"][0] != killed or len(done["workers"]) < 2:
        raise NotSeen(f"it was done by {done['workers']}, and {killed} was killed")
    return f"begun by {killed}, which was killed; finished by {done['workers'][-1]}"


async def line_survives(demo: Demo) -> str:
    """A server is killed, and no line of the reliable chat is lost, doubled, or out of order."""
    first, second = demo.servers
    texts = [some_text() for _ in range(LINES)]
    async with Page(second.address, "/ws/lines") as writer:
        async with Page(first.address, "/ws/lines") as reader:
            seq = await caught_up(reader, None)
            before = reader.pid
            await write(writer, texts[0])
            await reader.sees(type="kept", line=lambda line: line["text"] == texts[0])
            await kill(first.address, first.place.name)
            await until_lost(reader)
        for text in texts[1:]:  # while the server of the reader is away
            await write(writer, text)
    async with Page(first.address, "/ws/lines") as reader:
        after = reader.pid
        await reader.say(type="resume", after=seq)
        missed = [line["text"] for line in (await reader.sees(type="lines"))["lines"] if line["text"] in texts]
    if missed != texts:
        raise NotSeen(f"after the death of process {before}, {missed} were there instead of {texts}")
    return f"{LINES} lines, {LINES - 1} of them written after process {before} was killed; process {after} had them all"


async def caught_up(page: Page, seq: int | None) -> int:
    """Read all that there is, and return the number of the last line."""
    while True:
        await page.say(type="resume", after=seq)
        answer = await page.sees(type="lines")
        seq = answer["lines"][-1]["seq"] if answer["lines"] else seq or 0
        if not answer["more"] or not answer["lines"]:
            return seq


async def write(page: Page, text: str) -> dict[str, Any]:
    """Write a line as a page does: again, until it is in the history."""
    identifier = str(uuid4())
    kept = asyncio.create_task(page.sees(type="kept", line=lambda line: line["id"] == identifier))
    try:
        while not kept.done():
            await page.say(type="line", id=identifier, name="Check", text=text)
            await asyncio.wait([kept], timeout=1)
        message: dict[str, Any] = kept.result()["line"]
        return message
    finally:
        kept.cancel()


async def until_lost(page: Page) -> None:
    """Wait until the connection has ended."""
    try:
        await page.sees(type="nothing of this type")
    except Lost:
        return


DEATHS: tuple[Step, ...] = (job_survives, line_survives)
