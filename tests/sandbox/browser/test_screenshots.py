"""The pictures of the documentation: `make screenshots` runs this with a folder to put them in."""

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.sandbox.browser.visitor import PHONE, Visitor, visitors
from tests.sandbox.running import RunningDemo, needs_proc

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), needs_proc]


@pytest.fixture
def demo() -> Iterator[RunningDemo]:
    """A fresh one: numbers begin with 1."""
    with RunningDemo() as running:
        yield running.wait_until_up()


async def test_the_whole_page_with_something_in_every_card(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    await converse(ada, grace)
    await ada.page.get_by_role("button", name="Start four").click()
    await ada.page.get_by_role("button", name="Start one").click()
    await ada.page.get_by_role("button", name="Send a burst").click()
    for visitor in (ada, grace):
        await expect(visitor.page.locator(".job[data-state=running] .job-state").first).to_have_text(
            re.compile(r"[4-9]\d %")
        )
        await expect(visitor.page.get_by_role("row", name=re.compile("^server 1"))).to_contain_text(
            re.compile("1\\d{3}")
        )
    await expect(ada.page.locator("#notice")).to_have_text("")
    await ada.shows("sandbox-light")
    await ada.shows("sandbox-layers", "#layers-card")
    await grace.page.emulate_media(color_scheme="dark")
    await grace.shows("sandbox-dark")

    await ada.page.get_by_role("button", name="Kill this server").click()
    await expect(ada.page.locator("#status")).not_to_have_text("Connected")
    await ada.writes("My server is away, and I write")
    await expect(ada.page.locator("#outbox li")).to_have_count(1)
    await ada.shows("sandbox-server-killed", "#lines-card")
    await ada.is_connected()
    await expect(ada.page.locator("#outbox li")).to_have_count(0)

    await grace.page.emulate_media(color_scheme="light")
    await grace.page.set_viewport_size(PHONE)
    await grace.shows("sandbox-phone")
    assert not [*ada.complaints, *grace.complaints]


async def converse(ada: Visitor, grace: Visitor) -> None:
    await ada.says("Hello from the first server")
    await grace.reads("Hello from the first server", "typed at the other server")
    await grace.says("And hello from the second one")
    await ada.reads("And hello from the second one", "typed at the other server")
    await ada.writes("This line is kept")
    await expect(grace.page.locator("#lines .bubble")).to_have_count(1)
    await grace.writes("And so is this one, with the next number")
    await expect(ada.page.locator("#lines .bubble")).to_have_count(2)
    await grace.types(grace.page.get_by_label("Tell everybody"), "Tea is ready")
    await expect(ada.page.locator("#notices")).to_contain_text("Tea is ready")
    await ada.types(ada.page.get_by_label("Say something"), "Are you there?")
    await expect(ada.page.locator("#system-log")).to_contain_text("heard: Are you there?")
