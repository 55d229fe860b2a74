"""The pages that the documentation prints, in a browser.

With `FAST_CHANNELS_SCREENSHOTS` in the environment, the pictures of the tutorial are made again.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ViewportSize, async_playwright, expect
from playwright.async_api import Page as BrowserPage

from tests.docs.pages import ROOT, Page
from tests.docs.running import PATIENCE, Running, commands

CHROMIUM = "/usr/bin/chromium"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
TUTORIAL = ROOT / "docs" / "tutorial"
IMAGES = ROOT / "docs" / "images"
SMALL: ViewportSize = {"width": 480, "height": 320}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which(CHROMIUM), reason=f"needs the system package chromium ({CHROMIUM})"),
    pytest.mark.timeout(180),
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield browser
        await browser.close()


async def picture(page: BrowserPage, name: str) -> None:
    if os.environ.get("FAST_CHANNELS_SCREENSHOTS"):
        await page.screenshot(path=IMAGES / name)


async def says(page: BrowserPage, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.keyboard.press("Enter")


async def sees(page: BrowserPage, text: str) -> None:
    await expect(page.get_by_role("listitem").filter(has_text=text).first).to_be_visible()


async def test_the_first_example_is_a_chat(browser: Browser, tmp_path: Path) -> None:
    page = Page("docs/index.md")
    page.write_files(tmp_path)
    async with Running(tmp_path) as running:
        [line] = commands(page, "uvicorn")
        await running.start(f"{line} --port 8000")
        one, other = await browser.new_page(), await browser.new_page()
        for window in (one, other):
            await window.goto(running.address("http://localhost:8000"))
        await sees_hello(one, other)


async def sees_hello(one: BrowserPage, other: BrowserPage) -> None:
    """What is typed in one window stands in both. It is typed again until the other one has connected."""
    while not await other.get_by_role("listitem").count():
        await one.wait_for_function("socket.readyState === 1")
        await says(one, "hello")
        await one.wait_for_timeout(50)
    await sees(one, "hello")


async def test_ann_and_bob_meet_in_a_room(browser: Browser, tmp_path: Path) -> None:
    first, page = [Page(f"docs/tutorial/{name}.md") for name in ("1-consumer", "2-rooms")]
    for each in (first, page):
        each.write_files(tmp_path)
    async with Running(tmp_path) as running:
        [line] = commands(page, "uvicorn")
        server = await running.start(line)
        ann, bob = [await browser.new_page(viewport=SMALL) for _ in range(2)]
        addresses = re.findall(r"http://localhost:8000/\?/ws/rooms/\S+?(?=`)", page.text)
        for window, address in zip((ann, bob), addresses, strict=True):
            await window.goto(running.address(address))
            await sees(window, "has joined")
        await says(ann, "hello")
        await sees(bob, "Ann: hello")
        await says(bob, "hello Ann")
        await sees(ann, "Bob: hello Ann")
        await picture(bob, "tutorial-room.png")
        server.terminate()
        await sees(bob, "(closed: 10")


async def test_the_numbers_of_a_job_arrive(browser: Browser, tmp_path: Path, redis_url: str) -> None:
    *before, page = [Page(path.relative_to(ROOT).as_posix()) for path in sorted(TUTORIAL.glob("[1-5]-*.md"))]
    for each in (*before, page):
        each.write_files(tmp_path)
    async with Running(tmp_path, REDIS_URL=redis_url) as running:
        for line in (*commands(page, "uvicorn"), *commands(page, "fast-channels")):
            await running.start(line)
        window = await browser.new_page(viewport=SMALL)
        [address] = re.findall(r"http://localhost:8000/\S+?(?=`)", page.text)
        await window.goto(running.address(address))
        await window.wait_for_function("socket.readyState === 1")
        await says(window, "5")
        await sees(window, "done")
        assert await window.get_by_role("listitem").all_inner_texts() == [*(f"{n} of 5" for n in range(1, 6)), "done"]
        await picture(window, "tutorial-job.png")


CLOSER = """
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.routing import add_consumer

app = FastAPI()
codes = [1012, 1013, 1008, 4000]


class Closing(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.close(codes.pop(0))


add_consumer(app, "/ws", Closing)


@app.get("/")
async def page():
    return HTMLResponse("<!doctype html><title>page</title>")


@app.get("/left")
async def left():
    return codes
"""


async def test_a_page_comes_back_where_that_helps(browser: Browser, tmp_path: Path) -> None:
    """It is told to come back twice, and then that it would not help."""
    [(_, code)] = [file for file in Page("docs/howto/shutdown.md").files if file[0] == "reconnect.js"]
    (tmp_path / "closer.py").write_text(CLOSER)
    async with Running(tmp_path) as running:
        await running.start("uvicorn closer:app --port 8000")
        page = await browser.new_page()
        await page.goto(running.address("http://localhost:8000"))
        await page.evaluate(code.replace("wss:", "ws:") + "; connect()")
        left = "fetch('/left').then((answer) => answer.json()).then((codes) => codes.length < 2)"
        while not await page.evaluate(left):
            await page.wait_for_timeout(100)
        await page.wait_for_timeout(1500)  # longer than it would take
        assert await page.evaluate("fetch('/left').then((answer) => answer.json())") == [4000]
