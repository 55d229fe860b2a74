"""Every card of the page, in two browsers at two server processes."""

import asyncio
import json
import re
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Browser, expect

from tests.sandbox.browser.visitor import SECONDS, visitors
from tests.sandbox.running import RunningDemo, needs_proc

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("sandbox cards"),  # one demo for all
    needs_proc,
]


async def post(url: str, **body: str) -> None:
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    await asyncio.to_thread(lambda: urlopen(request, timeout=SECONDS).close())


async def test_pages_on_two_servers_are_in_one_chat(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    assert await ada.pid() != await grace.pid()

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


async def test_a_room_knows_who_is_there_at_whatever_server_and_who_came_and_left(
    demo: RunningDemo, browser: Browser
) -> None:
    ada, grace = await visitors(browser, demo.addresses, "members")
    for visitor in (ada, grace):
        await expect(visitor.page.locator("#members")).to_have_text(re.compile("Ada.*server 1.*Grace.*server 2"))
    await expect(ada.page.locator("#members .chip", has_text="you")).to_contain_text("Ada")

    await grace.page.get_by_label("Name").fill("Admiral")
    await grace.page.keyboard.press("Tab")
    await expect(ada.page.locator("#members")).to_contain_text("Admiral")
    # who was there before does not come in
    await expect(ada.page.locator("#members")).to_have_attribute("data-settled", "true")
    await grace.page.close()
    await expect(ada.page.locator("#members .chip")).to_have_count(1)
    await expect(ada.page.get_by_text("Admiral left.")).to_be_visible()
    [other] = await visitors(browser, demo.addresses[1:], "members")
    await expect(ada.page.get_by_text("Ada came in.")).to_be_visible()
    assert not [*ada.complaints, *other.complaints]


async def test_a_form_can_post_and_everybody_can_be_told(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "forms")
    await ada.page.get_by_label("HTTP POST").check()
    await ada.says("Over HTTP")
    await grace.reads("Over HTTP", "posted to the other server")

    await ada.page.goto(f"{demo.addresses[0]}/#elsewhere")
    await expect(ada.page.get_by_text("No news is good news.")).to_be_visible()
    await ada.types(ada.page.get_by_label("Tell everybody"), "Tea is ready")
    for visitor in (ada, grace):
        await expect(visitor.page.locator("#notice")).to_have_text("Tea is ready")
        await expect(visitor.page.locator("#notices")).to_contain_text("Tea is ready by server 1")
    assert not [*ada.complaints, *grace.complaints]


async def test_what_people_write_is_shown_as_text(demo: RunningDemo, browser: Browser) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "html")
    evil = "<img src=x onerror=\"document.title='gotcha'\"> <b>bold</b>"
    await ada.page.get_by_label("Name").fill("<i>Ada</i>")
    await ada.says(evil)
    await ada.writes(evil)
    await ada.types(ada.page.get_by_label("Tell everybody"), evil)
    await ada.types(ada.page.get_by_label("Say something"), evil)
    await expect(ada.page.locator("#log .said")).to_have_text(evil)
    await expect(ada.page.locator("#log .who")).to_contain_text("<i>Ada</i>")
    await expect(ada.page.locator("#members")).to_contain_text("<i>Ada</i>")
    await expect(ada.page.locator("#lines .said").last).to_have_text(evil)
    await expect(ada.page.locator("#notice")).to_have_text(evil)
    await expect(ada.page.locator("#system-log")).to_contain_text(evil)
    assert await ada.page.locator("main img, main :is(#log, #lines, #members) :is(b, i)").count() == 0
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
    await expect(ada.page.get_by_text("Nobody can be in this room.")).to_be_visible()
    await ada.page.go_back()
    await ada.is_connected()
    assert not [*ada.complaints, *grace.complaints]


async def test_several_jobs_move_in_every_page_and_end(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "jobs")
    await ada.page.get_by_role("button", name="Start four").click()
    bars = ada.page.locator(".job[data-state=running] progress")
    await expect(bars).to_have_count(4)
    before = await bars.first.get_attribute("value")
    await expect(bars.first).not_to_have_attribute("value", before or "")
    await ada.page.get_by_role("button", name="Start one").click()
    await expect(grace.page.locator(".job[data-state=waiting]")).to_contain_text("in the queue")
    assert {await each.inner_text() for each in await ada.page.locator(".job .danger:visible").all()} == {
        "Kill worker 1",
        "Kill worker 2",
    }
    for visitor in (ada, grace):
        await expect(visitor.page.locator(".job[data-state=done]")).to_have_count(5)
    assert not [*ada.complaints, *grace.complaints]


async def test_the_reliable_chat_shows_every_page_the_same_numbers(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lines")
    for number in range(3):
        await ada.writes(f"Ada writes {number}")
        await grace.writes(f"Grace writes {number}")
    for visitor in (ada, grace):
        await expect(visitor.page.locator("#lines .said", has_text="writes")).to_have_count(6)
        await expect(visitor.page.locator("#outbox li")).to_have_count(0)
    theirs, ours = [await each.page.locator("#lines .bubble").all_inner_texts() for each in (ada, grace)]
    assert theirs == ours
    newcomer, *_ = await visitors(browser, demo.addresses[:1], "lines")
    await expect(newcomer.page.locator("#lines .bubble")).to_have_count(len(ours))
    assert not [*ada.complaints, *grace.complaints, *newcomer.complaints]


async def test_the_server_answers_with_no_layer_and_counts_its_own_pages(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "system")
    await ada.types(ada.page.get_by_label("Say something"), "Are you there?")
    await expect(ada.page.locator("#system-log")).to_contain_text(f"Process {await ada.pid()} heard: Are you there?")
    await expect(ada.page.locator("#trip")).to_contain_text("ms")
    await expect(grace.page.locator("#visitors")).to_have_text("1")
    [other] = await visitors(browser, demo.addresses[1:], "system")
    await expect(grace.page.locator("#visitors")).to_have_text("2")
    await expect(ada.page.locator("#visitors")).to_have_text("1")
    await expect(ada.page.get_by_role("link", name=demo.addresses[1].removeprefix("http://"))).to_be_visible()
    assert not [*ada.complaints, *grace.complaints, *other.complaints]


async def test_charts_move_and_a_burst_is_too_much_for_a_mailbox(demo: RunningDemo, browser: Browser) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "charts")
    for name in ("clock", "server 1", "server 2", "worker 1", "worker 2"):
        row = ada.page.get_by_role("row", name=re.compile(f"^{name}"))
        await expect(row.locator("[data-label=pid]")).to_have_text(re.compile(r"^\d+$"))
        await expect(ada.page.locator(f"#chart-messages path[data-series='{name}']")).to_have_attribute(
            "d", re.compile(r"M.*L.*")
        )
    line = ada.page.locator("#chart-sockets path[data-series='server 1']")
    await expect(line).not_to_have_attribute("d", await line.get_attribute("d") or "")

    await ada.page.get_by_role("button", name="Send a burst").click()
    dropped = ada.page.get_by_role("row", name=re.compile("^server 1")).locator("[data-label=dropped]")
    await expect(dropped).to_have_text(re.compile(r"^[1-9]"))
    await expect(ada.page.get_by_role("img", name=re.compile("at most [1-9]\\d* in one process")).first).to_be_visible()
    assert not ada.complaints
