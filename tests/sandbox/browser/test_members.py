"""Who is said to have come and gone, on a clock that the test moves: what servers tell decides, and when."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page

from sandbox.presence import GOOD_FOR
from tests.sandbox.running import RunningDemo, needs_proc

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("sandbox members"),  # one demo for all
    needs_proc,
]

START = """async (me) => {
  const { Members } = await import("/static/members.js");
  window.said = [];
  window.list = document.createElement("ul");
  window.members = new Members(list, (text) => said.push(text));
  members.connect(me);
}"""


class Room:
    """A list of members that hears what the test says, and nothing else."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def hears(self, process: str, **members: str) -> None:
        """`process` tells whom it serves: names by id."""
        listed = [{"id": id, "name": name} for id, name in members.items()]
        roster = {"process": process, "members": listed, "good_for": GOOD_FOR}
        await self.page.evaluate("roster => members.take(roster)", roster)

    async def passes(self, seconds: float, **alive: dict[str, str]) -> None:
        """Time goes by, in which the servers that are alive say so."""
        for _ in range(round(2 * seconds)):
            for process, members in alive.items():
                await self.hears(process, **members)
            await self.page.clock.run_for(500)

    async def said(self) -> Any:
        """What was said since the last time."""
        return await self.page.evaluate("said.splice(0)")

    async def shown(self) -> Any:
        return await self.page.evaluate("list.textContent")


ME = {"g": "Grace"}


@pytest.fixture
async def room(demo: RunningDemo, browser: Browser) -> Room:
    """Seen by Grace, whom the second server serves; Ada has been there for a while, at the first."""
    page = await browser.new_page()
    await page.clock.install()
    await page.goto(f"{demo.addresses[0]}/")
    await page.evaluate(START, "g")
    room = Room(page)
    await room.passes(3, one={"a": "Ada"}, two=ME)
    assert await room.said() == []
    return room


async def test_whose_server_was_killed_and_came_back_neither_left_nor_came(room: Room) -> None:
    await room.passes(2, two=ME)
    await room.hears("one", b="Ada")
    await room.passes(2 * GOOD_FOR, one={"b": "Ada"}, two=ME)
    assert await room.said() == []
    assert await room.shown() == "AdaoneGraceyoutwo"


async def test_a_server_that_comes_back_first_without_them_says_nothing_of_them(room: Room) -> None:
    await room.hears("one", l="Linus")
    assert await room.said() == ["Linus came in."]
    await room.passes(GOOD_FOR - 1, one={"l": "Linus"}, two=ME)
    await room.passes(2 * GOOD_FOR, one={"l": "Linus", "b": "Ada"}, two=ME)
    assert await room.said() == []


async def test_who_does_not_come_back_has_left_once(room: Room) -> None:
    await room.hears("one")
    assert await room.shown() == "Graceyoutwo"
    await room.passes(GOOD_FOR - 1, one={}, two=ME)
    assert await room.said() == []
    await room.passes(2 * GOOD_FOR, one={}, two=ME)
    assert await room.said() == ["Ada left."]
    await room.hears("one", b="Ada")
    assert await room.said() == ["Ada came in."]


async def test_whose_server_stays_dead_has_left(room: Room) -> None:
    await room.passes(3 * GOOD_FOR, two=ME)
    assert await room.said() == ["Ada left."]
    assert await room.shown() == "Graceyoutwo"


async def test_one_of_two_with_one_name_does_not_leave_while_the_other_is_there(room: Room) -> None:
    await room.hears("one", a="Ada", b="Ada")
    assert await room.said() == ["Ada came in."]
    await room.passes(2 * GOOD_FOR, one={"b": "Ada"}, two=ME)
    assert await room.said() == []


async def test_who_was_there_before_my_own_connection_broke_is_still_there(room: Room) -> None:
    await room.page.evaluate("members.freeze()")
    await room.passes(2 * GOOD_FOR)
    await room.page.evaluate("members.connect('h')")
    await room.passes(GOOD_FOR - 1, two={"h": "Grace"})
    await room.passes(2 * GOOD_FOR, one={"b": "Ada"}, two={"h": "Grace"})
    assert await room.said() == []


async def test_who_left_while_i_had_no_connection_has_left(room: Room) -> None:
    await room.page.evaluate("members.freeze()")
    await room.page.evaluate("members.connect('h')")
    await room.passes(2 * GOOD_FOR, two={"h": "Grace"})
    assert await room.said() == ["Ada left."]
