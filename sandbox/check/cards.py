"""The steps of the check in which every card does its work."""

from sandbox.check.running import Step, both, in_room, post, some_room, some_text
from sandbox.client import NotSeen, Page
from sandbox.demo import Demo
from sandbox.rooms import LOBBY
from sandbox.web import fetch

__all__ = ["CARDS", "notified", "posted", "sent", "two_processes", "typed_at_one"]


async def two_processes(demo: Demo) -> str:
    """The servers are two processes, and say so with no layer."""
    async with both(demo, "/ws/system") as (first, second):
        for page in (first, second):
            await page.say(type="say", text=(text := some_text()))
            await page.sees(type="echo", text=text, pid=page.pid)
        pids = first.pid, second.pid
    if len({*pids}) != 2:
        raise NotSeen(f"both pages are served by process {first.pid}")
    return f"pages served by processes {pids[0]} and {pids[1]}"


async def typed_at_one(demo: Demo) -> str:
    """What is typed at one server appears at the other."""
    seen = []
    async with both(demo, in_room(some_room())) as (first, second):
        for typist, reader in ((first, second), (second, first)):
            text = some_text()
            await typist.type(text)
            await typist.sees(text=text, mine=True)
            message = await reader.sees(text=text, pid=typist.pid, via="websocket", mine=False)
            seen.append(f"{message['text']!r} went from process {typist.pid} to {reader.pid}")
    return "; ".join(seen)


async def members(demo: Demo) -> str:
    """A room knows its members, at whatever server they are, and who left."""
    first, second = demo.servers
    room = in_room(some_room())
    async with Page(first.address, room) as ada:
        async with Page(second.address, room) as grace:
            await ada.say(type="enter", name="Ada")
            await grace.say(type="enter", name="Grace")
            await ada.sees(type="roster", pid=grace.pid, members=[{"id": grace.hello["id"], "name": "Grace"}])
            await grace.sees(type="roster", pid=ada.pid, members=[{"id": ada.hello["id"], "name": "Ada"}])
        await ada.sees(type="roster", pid=grace.pid, members=[])
    return f"Ada at process {ada.pid} saw Grace come and go at {grace.pid}"


async def posted(demo: Demo) -> str:
    """What is posted over HTTP appears at both servers."""
    seen = []
    room = some_room()
    async with both(demo, in_room(room)) as pages:
        for server in demo.servers:
            text = some_text()
            await post(f"{server.address}/api/rooms/{room}/messages", {"text": text})
            for page in pages:
                await page.sees(text=text, via="http", pid=server.pid)
            seen.append(f"{text!r} posted to process {server.pid} appeared at both")
    return "; ".join(seen)


async def sent(demo: Demo) -> str:
    """What a process that is no server sends appears at both servers."""
    async with both(demo, in_room(LOBBY)) as pages:
        messages = [await page.sees(via="sender", pid=demo.clock.pid) for page in pages]
    return f"{messages[0]['text']!r} from process {demo.clock.pid} appeared at both"


async def other_rooms(demo: Demo) -> str:
    """Another room hears nothing of it."""
    room = in_room(some_room())
    async with both(demo, in_room(some_room())) as (first, second), Page(demo.servers[1].address, room) as outside:
        await first.type(secret := some_text())
        await second.sees(text=secret)
        await outside.type(own := some_text())
        message = await outside.sees(type="message")
    if message["text"] != own:
        raise NotSeen(f"a page in another room got {message['text']!r} first")
    return f"a page in another room got its own {own!r} alone"


async def bad_room(demo: Demo) -> str:
    """A room that cannot be is refused with a reason."""
    address = demo.servers[0].address
    async with Page(address, in_room("no%20room%21"), greeted=False) as page:
        error = await page.sees(type="error")
    status, answer = await fetch(f"{address}/api/rooms/no%20room%21/messages", {"text": "x"})
    if status != 422:
        raise NotSeen(f"the POST was answered with {status}: {answer}")
    return f"told: {error['text']}"


async def notified(demo: Demo) -> str:
    """A notification reaches every page, over a layer of its own."""
    first, second = demo.servers
    async with Page(second.address, "/ws/notifications") as page:
        await post(f"{first.address}/api/notifications", {"text": (text := some_text())})
        await page.sees(type="notification", text=text)
    return f"{text!r} posted to process {first.pid} appeared at {second.pid}"


async def worked(demo: Demo) -> str:
    """A job is done by a worker, and its progress appears at both servers."""
    async with both(demo, "/ws/jobs") as pages:
        await pages[0].say(count=1, seconds=0.6)
        [identifier] = (await pages[0].sees(type="started"))["ids"]
        jobs = [
            await page.sees(type="job", job=lambda job: job["id"] == identifier and job["state"] == "done")
            for page in pages
        ]
    return f"{jobs[0]['job']['title']!r} was done by {jobs[0]['job']['workers'][0]}, and both pages saw it"


async def visitors(demo: Demo) -> str:
    """A server counts its own pages, over the layer that stays in memory."""
    address = demo.servers[0].address
    async with Page(address, "/ws/visitors", greeted=False) as page:
        before = (await page.sees(type="visitors"))["count"]
        async with Page(address, "/ws/visitors", greeted=False):
            await page.sees(type="visitors", count=before + 1)
        await page.sees(type="visitors", count=before)
    return f"{before + 1} pages, then {before}"


async def reported(demo: Demo) -> str:
    """Every process reports about its layers, and a burst that is too much is counted."""
    places = (*(server.place for server in demo.servers), *demo.workers, demo.clock)
    async with Page(demo.servers[1].address, "/ws/statistics") as page:
        for place in places:
            await page.sees(type="report", process=place.name, pid=place.pid)
        await post(f"{demo.servers[0].address}/api/burst", {})
        report = await page.sees(type="report", process="server 2", layers=lambda layers: dropped(layers) > 0)
    return f"{len(places)} processes reported; {dropped(report['layers'])} messages of a burst were dropped"


def dropped(layers: dict[str, dict[str, dict[str, int]]]) -> int:
    """How many notifications were too many."""
    return layers["notifications"]["dropped"].get("over_capacity", 0)


async def foreign_page(demo: Demo) -> str:
    """The page of somebody else can kill nothing, and so can nobody without a page."""
    url = f"{demo.servers[0].address}/api/processes/clock/kill"
    answers = [(await fetch(url, {}, origin))[0] for origin in ("http://evil.example", None)]
    if answers != [403, 403]:
        raise NotSeen(f"answered with {answers}")
    return "403 Forbidden"


CARDS: tuple[Step, ...] = (
    two_processes,
    typed_at_one,
    members,
    posted,
    sent,
    other_rooms,
    bad_room,
    notified,
    worked,
    visitors,
    reported,
    foreign_page,
)
