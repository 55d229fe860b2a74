"""A join that fails takes back only what nobody was promised. No server: each test says when one is confirmed."""

import asyncio

import pytest

from fast_channels.layers.local import LocalChannels
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis.joins import Joins


class Scene:
    """A channel `c` that joins groups, and what the server is told."""

    def __init__(self) -> None:
        self.local = LocalChannels(lambda entry: entry, lambda channel: 9, "drop_newest", Counters())
        self.local.open("c")
        self.joins = Joins(self.local, self.leave)
        self.left: list[tuple[str, str]] = []

    def leave(self, group: str, channel: str) -> None:
        if self.local.leave(group, channel):
            self.left.append((group, channel))

    def join(self, group: str = "g", channel: str = "c") -> "Pending":
        return Pending(self, group, channel)

    @property
    def is_member(self) -> bool:
        return "c" in getattr(self.local.groups.get("g"), "members", {})

    def is_clean(self) -> bool:
        return repr(self.joins) == "<Joins: 0 unconfirmed>"


class Pending:
    """A join that waits for the server."""

    def __init__(self, scene: Scene, group: str, channel: str) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def confirmed() -> None:
            await self.answer

        self.task = asyncio.create_task(scene.joins.join(group, channel, confirmed))

    async def begin(self) -> "Pending":
        await asyncio.sleep(0)
        return self

    async def succeed(self) -> None:
        self.answer.set_result(None)
        await self.task

    async def fail(self) -> None:
        self.answer.set_exception(ConnectionError("no"))
        with pytest.raises(ConnectionError):
            await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_member_gets_messages_as_soon_as_it_asks(scene: Scene) -> None:
    """The server may know before it has said so."""
    join = await scene.join().begin()
    assert scene.is_member
    await join.succeed()
    assert scene.is_member
    assert scene.is_clean()


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_a_join_that_fails_is_taken_back(scene: Scene, how: str) -> None:
    join = await scene.join().begin()
    await getattr(join, how)()
    assert not scene.is_member
    assert scene.left == [("g", "c")]
    assert scene.is_clean()


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_an_older_membership_stays(scene: Scene, how: str) -> None:
    await (await scene.join().begin()).succeed()
    join = await scene.join().begin()
    await getattr(join, how)()
    assert scene.is_member
    assert scene.is_clean()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_that_wait_one_that_fails_leaves_the_other_its_membership(
    scene: Scene, order: tuple[int, int]
) -> None:
    joins = [await scene.join().begin() for _ in range(2)]
    await joins[order[0]].fail()
    assert scene.is_member
    await joins[order[1]].succeed()
    assert scene.is_member
    assert scene.is_clean()


async def test_when_all_fail_it_is_taken_back_once(scene: Scene) -> None:
    joins = [await scene.join().begin() for _ in range(3)]
    for join in joins:
        await join.fail()
    assert not scene.is_member
    assert scene.left == [("g", "c")]
    assert scene.is_clean()


async def test_one_that_fails_after_another_succeeded_takes_nothing_back(scene: Scene) -> None:
    joins = [await scene.join().begin() for _ in range(2)]
    await joins[0].succeed()
    await joins[1].fail()
    assert scene.is_member
    assert scene.is_clean()


async def test_who_leaves_while_a_join_waits_stays_away(scene: Scene) -> None:
    join = await scene.join().begin()
    scene.leave("g", "c")
    await join.succeed()
    assert not scene.is_member
    assert scene.is_clean()


async def test_who_leaves_and_joins_again_is_a_member_whatever_the_first_join_does(scene: Scene) -> None:
    first = await scene.join().begin()
    scene.leave("g", "c")
    second = await scene.join().begin()
    await first.fail()
    assert scene.is_member
    await second.succeed()
    assert scene.is_member
    assert scene.is_clean()


async def test_a_channel_that_is_gone_joins_nothing(scene: Scene) -> None:
    await scene.join(channel="gone").task
    assert scene.local.groups == {}
    assert scene.is_clean()


async def test_a_channel_that_goes_while_its_join_waits_leaves_nothing(scene: Scene) -> None:
    join = await scene.join().begin()
    scene.local.release("c")
    await join.fail()
    assert scene.local.groups == {}
    assert scene.is_clean()


async def test_groups_do_not_disturb_each_other(scene: Scene) -> None:
    joins = [await scene.join(group).begin() for group in ("g", "h")]
    await joins[1].fail()
    await joins[0].succeed()
    assert list(scene.local.groups) == ["g"]
    assert scene.is_clean()


async def test_a_membership_is_confirmed_when_the_server_knows_it_and_not_before() -> None:
    scene = Scene()
    mailbox = scene.local.mailboxes["c"]
    scene.local.join("old", mailbox)
    joining = await scene.join().begin()
    assert scene.is_member
    assert scene.joins.confirmed(mailbox) == {"old"}
    joining.answer.set_result(None)
    await joining.task
    assert scene.joins.confirmed(mailbox) == {"old", "g"}
    again = await scene.join().begin()
    assert scene.joins.confirmed(mailbox) == {"old", "g"}, "it was promised before"
    again.answer.set_result(None)
    await again.task
