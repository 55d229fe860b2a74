"""Processes die, and the page goes on: by its own buttons, and by a server that is gone for a while."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.sandbox.browser.visitor import Visitor, visitors
from tests.sandbox.running import RunningDemo, needs_proc

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("sandbox deaths"),  # one demo for all
    needs_proc,
]


async def test_a_killed_server_comes_back_and_no_line_is_lost(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    before = await ada.pid()
    await ada.writes("Written before")
    await expect(lines(grace, "Written")).to_have_count(1)
    await ada.page.evaluate(WATCH_STATES)

    await ada.page.get_by_role("button", name="Kill this server").click()
    await expect(ada.page.locator("#status")).not_to_have_text("Connected")
    await ada.writes("Written while my server is away")
    await grace.writes("Written at the other server meanwhile")
    await ada.is_connected()

    await expect(ada.page.locator("#pid")).not_to_have_text(before)
    await expect(ada.page.locator("#system-log")).to_contain_text(f"a new process after {before}")
    await expect(ada.page.locator("#log")).to_contain_text("Connected again.")
    await ada.writes("Written afterwards")
    for visitor in (ada, grace):
        await expect(lines(visitor, "Written")).to_have_count(4)
        await expect(visitor.page.locator("#outbox li")).to_have_count(0)
    texts, same = [await lines(each, "Written").all_inner_texts() for each in (ada, grace)]
    assert texts == same
    numbers = [int(text.partition("#")[2].split()[0]) for text in texts]
    assert numbers == [*range(numbers[0], numbers[0] + 4)]
    assert any(re.match(r"Reconnecting in \d+ s", state) for state in await ada.page.evaluate("states"))
    assert not [*ada.complaints, *grace.complaints]


def lines(visitor: Visitor, text: str) -> Locator:
    """The lines of the reliable chat with `text` that a page shows."""
    return visitor.page.locator("#lines .bubble", has_text=text)


WATCH_STATES = """() => {
  window.states = [];
  const status = document.getElementById("status");
  new MutationObserver(() => states.push(status.textContent)).observe(status, { childList: true });
}"""
"""Remembers everything that the page says about its connection."""


async def test_a_job_of_a_killed_worker_is_finished_by_another_process(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    await ada.page.get_by_role("button", name="Start four").click()
    await expect(grace.page.locator(".job[data-state=running]")).to_have_count(4)
    victim = grace.page.locator(".job").first
    await expect(victim.locator(".job-state")).to_have_text(re.compile(r"[1-9]\d %"))
    worker = await victim.locator(".job-foot .meta").inner_text()
    await victim.get_by_role("button", name="Kill worker").click()
    await expect(victim.locator(".job-state")).to_contain_text("no word for")
    await ada.shows("sandbox-worker-killed", "#jobs-card")

    for visitor in (ada, grace):
        await expect(visitor.page.locator(".job[data-state=done]")).to_have_count(4)
    first, second, *_ = (await victim.locator(".job-foot .meta").inner_text()).split(" → ")
    assert first == worker != second
    await expect(ada.page.locator("#deaths")).to_contain_text("took its place")
    assert not [*ada.complaints, *grace.complaints]


async def test_the_chats_survive_the_death_of_the_redis_server(demo: RunningDemo, browser: Browser) -> None:
    ada, grace = await visitors(browser, demo.addresses, "lobby")
    await ada.writes("Redis: before")
    await expect(lines(grace, "Redis")).to_have_count(1)
    await ada.page.get_by_role("button", name="Kill valkey").click()
    await ada.writes("Redis: there is none")
    await grace.writes("Redis: none here either")
    for visitor in (ada, grace):
        await expect(lines(visitor, "Redis")).to_have_count(3)
    await ada.says("Here again")
    await grace.reads("Here again", "the other server")
    assert not [*ada.complaints, *grace.complaints]


async def test_a_line_that_is_not_kept_outlives_a_reload_and_is_not_doubled(
    demo: RunningDemo, browser: Browser
) -> None:
    [ada] = await visitors(browser, demo.addresses[:1], "lobby")
    with stopped(demo.members("sandbox.worker")):
        await ada.writes("Nobody keeps it")
        await expect(ada.page.locator("#outbox")).to_contain_text("Nobody keeps it · not kept yet")
        await ada.page.reload()
        await ada.is_connected()
        await expect(ada.page.locator("#outbox")).to_contain_text("Nobody keeps it · not kept yet")
    await expect(lines(ada, "Nobody keeps it")).to_have_count(1)
    await expect(ada.page.locator("#outbox li")).to_have_count(0)
    await ada.writes("The next one")
    await expect(lines(ada, "The next one")).to_have_count(1)
    await expect(lines(ada, "Nobody keeps it")).to_have_count(1)
    assert not ada.complaints


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """The processes stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
