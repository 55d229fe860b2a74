"""The page for everybody: with a keyboard alone, on a phone, light and dark, with enough contrast."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.sandbox.browser.visitor import DESK, PHONE, Visitor, visitors
from tests.sandbox.running import RunningDemo, needs_proc

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("sandbox design"),  # one demo for all
    needs_proc,
]

MOST_STEPS = 60


async def test_the_page_fits_a_phone(demo: RunningDemo, browser: Browser) -> None:
    context = await browser.new_context(viewport=PHONE, reduced_motion="reduce", has_touch=True)
    visitor = Visitor(await context.new_page())
    await visitor.open(demo.addresses[0], "phone", "A" * 40)
    await visitor.says("x" * 300)
    await visitor.reads("x" * 300, "this server")
    await visitor.writes("y" * 300)
    await expect(visitor.page.locator("#lines .said", has_text="yyy")).to_have_count(1)
    await visitor.page.get_by_role("button", name="Start four").click()
    await expect(visitor.page.locator(".job[data-state=running]")).to_have_count(4)
    await visitor.types(visitor.page.get_by_label("Tell everybody"), "z" * 200)
    await expect(visitor.page.locator("#notice")).to_have_text("z" * 200)
    await expect(visitor.page.get_by_role("row", name=re.compile("worker 2"))).to_be_visible()
    assert await visitor.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    small = await visitor.page.evaluate(TOO_SMALL_TO_TOUCH)
    assert small == []
    assert not visitor.complaints


TOO_SMALL_TO_TOUCH = """() => [...document.querySelectorAll("button, input:not([type=radio])")]
  .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24)
  .map((each) => each.outerHTML)"""
"""WCAG 2.2, 2.5.8: at least 24 pixels."""


@pytest.mark.parametrize("width", [320, 900, 1280])
async def test_no_card_covers_another_however_long_what_is_in_it(
    demo: RunningDemo, browser: Browser, width: int
) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "long")
    await ada.page.set_viewport_size({"width": width, "height": 900})
    await ada.page.locator("summary").click()
    for _ in range(4):
        await ada.types(ada.page.get_by_label("Say something"), "a" * 180)
        await ada.types(ada.page.get_by_label("Tell everybody"), "b" * 180)
    await expect(ada.page.locator("#system-log")).to_contain_text("heard: aaa")
    await expect(ada.page.locator("#notices li")).to_have_count(4)
    assert await ada.page.evaluate("document.documentElement.scrollWidth") == width
    assert await ada.page.evaluate(COVERED) == []


COVERED = """() => {
  const boxes = [...document.querySelectorAll(".card")].map((card) => [card.id, card.getBoundingClientRect()]);
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const pairs = boxes.flatMap((one) => boxes.filter(([id]) => one[0] < id).map((other) => [one, other]));
  return pairs.filter(([[, one], [, other]]) => meet(one, other)).map(([[one], [other]]) => `${one} and ${other}`);
}"""


async def test_the_page_can_be_used_with_the_keyboard_alone(demo: RunningDemo, browser: Browser) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "keyboard")
    await tab_to(ada.page, "Skip to the message field")
    await ada.page.keyboard.press("Enter")
    await expect(ada.field).to_be_focused()
    await ada.page.keyboard.type("No mouse")
    await ada.page.keyboard.press("Enter")
    await ada.reads("No mouse", "this server")
    await expect(ada.field).to_be_focused()

    await tab_to(ada.page, "Start one")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.locator(".job[data-state=running]").first).to_be_visible()
    await tab_to(ada.page, "Line")
    await ada.page.keyboard.type("With the keyboard")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.locator("#lines .said", has_text="With the keyboard")).to_have_count(1)
    everybody = "Tell everybody, on all servers, in all rooms"
    for name in (everybody, "Say something to this process", "Send a burst", "Kill clock", "Kill worker 2"):
        await tab_to(ada.page, name)
    assert not ada.complaints


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called `name` has the focus. All that is met on the way has a name, and shows it."""
    for _ in range(MOST_STEPS):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(FOCUSED)
        assert focused["name"], focused
        assert focused["outline"] != "none", focused
        if focused["name"] == name:
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


FOCUSED = """() => {
  const it = document.activeElement;
  const labels = [...(it.labels ?? [])].map((label) => label.textContent.trim());
  const name = it.ariaLabel || labels[0] || it.textContent.trim();
  return { name, html: it.outerHTML.slice(0, 200), outline: getComputedStyle(it).outlineStyle };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out_from_what_is_behind_it(demo: RunningDemo, browser: Browser, scheme: str) -> None:
    ada, grace = await visitors(browser, demo.addresses, f"contrast-{scheme}")
    for visitor in (ada, grace):
        await visitor.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await ada.says("Hello")
    await grace.says("Hello to you")
    await ada.writes("A line")
    await ada.page.get_by_role("button", name="Start four").click()
    await expect(ada.page.locator("#log .bubble")).to_have_count(2)
    await expect(ada.page.locator(".job[data-state=running]").first).to_be_visible()
    assert await ada.page.evaluate(LOW_CONTRAST) == []


LOW_CONTRAST = r"""() => {
  const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const ratio = (node) => {
    const [one, other] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  return [...document.body.querySelectorAll("*")]
    .filter((node) => node.checkVisibility())
    .filter((node) => [...node.childNodes].some((each) => each.nodeType === Node.TEXT_NODE && each.data.trim()))
    .filter((node) => ratio(node) < 4.5)
    .map((node) => `${node.className || node.tagName}: ${node.textContent.slice(0, 40)}: ${ratio(node).toFixed(2)}`);
}"""
"""The elements with text of less than 4.5 to 1, which WCAG AA asks for."""


async def test_light_and_dark_follow_the_system_unless_the_button_says_otherwise(
    demo: RunningDemo, browser: Browser
) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "theme")
    button = ada.page.get_by_role("button", name=re.compile("^Theme"))
    await ada.page.emulate_media(color_scheme="light")
    assert await background(ada.page) > 200
    await ada.page.emulate_media(color_scheme="dark")
    assert await background(ada.page) < 50
    await button.click()
    await expect(button).to_have_text("Theme: light")
    assert await background(ada.page) > 200
    await ada.page.reload()
    await expect(button).to_have_text("Theme: light")
    assert await background(ada.page) > 200
    await ada.page.emulate_media(color_scheme="light")
    await button.click()
    assert await background(ada.page) < 50
    await button.click()
    await expect(button).to_have_text("Theme: auto")
    assert not ada.complaints


async def background(page: Page) -> int:
    """How much red is behind everything, from 0 to 255."""
    colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", colour)[0])


async def test_nothing_comes_from_elsewhere(demo: RunningDemo, browser: Browser) -> None:
    visitor = Visitor(await (await browser.new_context(viewport=DESK)).new_page())
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    await visitor.open(demo.addresses[0], "lobby")
    assert asked
    assert all(url.startswith(demo.addresses[0]) for url in asked)
