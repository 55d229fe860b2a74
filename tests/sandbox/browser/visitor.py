"""Somebody at a page in a browser: what they do, and what they see."""

import os
import re
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, ViewportSize, expect

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
DESK: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 360, "height": 740}
SECONDS = 45
CARDS = 6
"""Each has a connection of its own."""

SCREENSHOTS = os.environ.get("SANDBOX_SCREENSHOTS")
"""The folder into which tests put what they see; nowhere without it."""


class Visitor:
    """Collects what the browser's console complains about, errors and warnings."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console", lambda line: self.complaints.append(line.text) if line.type in ("error", "warning") else None
        )

    async def open(self, address: str, room: str, name: str = "") -> None:
        if name:
            await self.page.add_init_script(f"localStorage.setItem('name', {name!r})")
        await self.page.goto(f"{address}/#{room}")
        await self.is_connected()

    async def is_connected(self) -> None:
        await expect(self.page.get_by_text("Connected", exact=True)).to_be_visible()
        await expect(self.page.locator("#pid")).to_have_text(re.compile(r"\d"))
        await expect(self.page.locator(".card[data-state=open]")).to_have_count(CARDS)

    @property
    def field(self) -> Locator:
        """Where messages are typed."""
        return self.page.get_by_label("Message", exact=True)

    async def pid(self) -> str:
        """The process that serves the page, as it says."""
        return await self.page.locator("#pid").text_content() or ""

    async def says(self, text: str) -> None:
        """With the keyboard alone."""
        await self.types(self.field, text)

    async def writes(self, text: str) -> None:
        """A line of the reliable chat."""
        await self.types(self.page.get_by_label("Line", exact=True), text)

    async def types(self, field: Locator, text: str) -> None:
        await field.focus()
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def reads(self, text: str, origin: str) -> None:
        said = self.page.locator("#log .bubble", has_text=text)
        await expect(said).to_have_count(1)
        await expect(said).to_contain_text(origin)

    async def shows(self, name: str, card: str = "") -> None:
        """A screenshot of what fits the window, or of a card, if screenshots are wanted."""
        if SCREENSHOTS is None:
            return
        path = Path(SCREENSHOTS, f"{name}.png")
        await self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        await self.page.mouse.move(0, 0)
        if card:
            await self.page.locator(card).screenshot(path=path, animations="disabled")
        else:
            await self.page.screenshot(path=path, animations="disabled")


async def visitors(browser: Browser, addresses: list[str], room: str) -> list[Visitor]:
    """One for each address, in browsers that share nothing; the first is Ada, the second Grace."""
    contexts = [await browser.new_context(viewport=DESK, reduced_motion="reduce") for _ in addresses]
    people = [Visitor(await context.new_page()) for context in contexts]
    for visitor, address, name in zip(people, addresses, ("Ada", "Grace"), strict=False):
        await visitor.open(address, room, name)
    return people
