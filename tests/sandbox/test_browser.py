"""The page in a browser: two pages, each on a server of its own, are in one chat."""

import asyncio
import json
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from sandbox.demo import Server, ready, start_server
from sandbox.processes import Family
from sandbox.valkey import start_valkey
from tests.sandbox.running import RunningDemo, needs_proc

CHROMIUM = "/usr/bin/chromium"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE: ViewportSize = {"width": 360, "height": 740}
SECONDS = 45

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which(CHROMIUM), reason=f"needs the system package chromium ({CHROMIUM})"),
    pytest.mark.timeout(180),
    needs_proc,
]


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningDemo]:
    with RunningDemo() as running:
        yield running.wait_until_up()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=SECONDS * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        await browser.close()


class Visitor:
    """Somebody at a page: what they do, and what they see. Collects what the browser's console complains about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    async def open(self, address: str, room: str) -> None:
        await self.page.goto(f"{address}/#{room}")
        await self.is_connected()

    async def is_connected(self) -> None:
        await expect(self.page.get_by_text("Connected", exact=True)).to_be_visible()
        await expect(self.page.locator("#pid")).to_have_text(re.compile(r"\d"))

    async def says(self, text: str) -> None:
        """With the keyboard alone."""
        await self.page.get_by_label("Message", exact=True).focus()
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def reads(self, text: str, origin: str) -> None:
        said = self.page.locator(".bubble", has_text=text)
        await expect(said).to_have_count(1)
        await expect(said).to_contain_text(origin)


async def visitors(browser: Browser, addresses: list[str], room: str) -> list[Visitor]:
    """One for each address, in browsers that share nothing."""
    people = [Visitor(await (await browser.new_context()).new_page()) for _ in addresses]
    for visitor, address in zip(people, addresses, strict=True):
        await visitor.open(address, room)
    return people


async def post(url: str, **body: str) -> None:
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    await asyncio.to_thread(lambda: urlopen(request, timeout=SECONDS).close())


async def test_pages_on_two_servers_are_in_one_chat(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    assert await ada.page.locator("#pid").text_content() != await grace.page.locator("#pid").text_content()

    await ada.says("Hello from the first")
    await ada.reads("Hello from the first", "typed at this server")
    await grace.reads("Hello from the first", "typed at the other server")
    await grace.says("Hello from the second")
    await ada.reads("Hello from the second", "typed at the other server")

    await post(f"{demo.addresses[0]}/api/rooms/lobby/messages", name="Robot", text="Posted by a program")
    await ada.reads("Posted by a program", "posted to this server")
    await grace.reads("Posted by a program", "posted to the other server")
    for visitor in (ada, grace):
        await expect(visitor.page.locator(".clock")).to_contain_text(f"{demo.members('sandbox.sender')[0]}, no server")
    assert not [*ada.complaints, *grace.complaints]


async def test_a_form_can_post_and_everybody_can_be_told(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "forms")
    await ada.page.get_by_label("HTTP POST").check()
    await ada.says("Over HTTP")
    await grace.reads("Over HTTP", "posted to the other server")

    await ada.page.goto(f"{demo.addresses[0]}/#elsewhere")
    await ada.page.get_by_label("On all servers, in all rooms").fill("Tea is ready")
    await ada.page.keyboard.press("Enter")
    for visitor in (ada, grace):
        await expect(visitor.page.locator("#notice")).to_have_text("Tea is ready")
    assert not [*ada.complaints, *grace.complaints]


async def test_what_people_write_is_shown_as_text(demo: RunningDemo, browser: Browser) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "html")
    evil = "<img src=x onerror=\"document.title='gotcha'\"> <b>bold</b>"
    await ada.page.get_by_label("Name").fill("<i>Ada</i>")
    await ada.says(evil)
    await expect(ada.page.locator(".said")).to_have_text(evil)
    await expect(ada.page.locator(".who")).to_contain_text("<i>Ada</i>")
    assert await ada.page.locator(".log img, .log b, .log i").count() == 0
    assert await ada.page.title() == "Fast Channels demo"
    assert not ada.complaints


async def test_rooms_are_apart_and_one_that_cannot_be_is_refused_with_a_reason(
    demo: RunningDemo, browser: Browser
) -> None:
    ada, grace = await visitors(browser, demo.addresses, "garden")
    await ada.page.get_by_label("Go to").fill("kitchen")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.locator("#room-name")).to_have_text("kitchen")
    await ada.is_connected()
    await ada.says("Only in the kitchen")
    await ada.reads("Only in the kitchen", "this server")
    await grace.says("Only in the garden")
    await grace.reads("Only in the garden", "this server")
    assert await grace.page.get_by_text("Only in the kitchen").count() == 0

    await ada.page.get_by_label("Go to").fill("no room!")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.get_by_role("alert").first).to_contain_text("A room's name is made of letters")
    await expect(ada.page.get_by_text("Not connected")).to_be_visible()
    await ada.page.go_back()
    await ada.is_connected()
    assert not [*ada.complaints, *grace.complaints]


async def test_the_page_fits_a_phone_and_follows_light_and_dark(demo: RunningDemo, browser: Browser) -> None:
    visitor = Visitor(await (await browser.new_context(viewport=PHONE)).new_page())
    await visitor.open(demo.addresses[0], "phone")
    await visitor.says("x" * 300)
    await visitor.reads("x" * 300, "this server")
    assert await visitor.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    await visitor.page.emulate_media(color_scheme="light")
    assert await background(visitor.page) > 200
    await visitor.page.emulate_media(color_scheme="dark")
    assert await background(visitor.page) < 50


async def background(page: Page) -> int:
    """How much red is behind everything, from 0 to 255."""
    colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", colour)[0])


# A server that comes back


async def test_a_page_comes_back_when_its_server_does(browser: Browser) -> None:
    async with Family() as family:
        url, _ = await start_valkey(family)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = await serve(family, listener, url)
            [ada] = await visitors(browser, [server.address], "lobby")
            pid = str(server.child.pid)
            await expect(ada.page.locator("#pid")).to_have_text(pid)

            await family.stop(server.child)
            await expect(ada.page.locator("#status")).not_to_have_text("Connected")
            server = await serve(family, listener, url)
            await ada.is_connected()
            await expect(ada.page.locator("#pid")).to_have_text(str(server.child.pid))
            await expect(ada.page.get_by_text("Connected again.")).to_be_visible()
            await ada.says("Here again")
            await ada.reads("Here again", "this server")


async def serve(family: Family, listener: socket.socket, url: str) -> Server:
    """A server on a copy of `listener`: the next one finds the same port."""
    server = await start_server(family, "server", listener.dup(), {"REDIS_URL": url})
    await ready(family, server)
    return server
