"""What is wanted of a group is what the server knows in the end, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import ServerRefused, ServerUnreachable
from fast_channels.layers.reader import EMPTY
from fast_channels.layers.redis import memberships
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Link, LinkEvents, Patience
from fast_channels.layers.redis.memberships import GroupMemberships
from tests.layers.redis.conftest import QUIET, MakeQueue, endpoint_of
from tests.support.proxy import Proxy
from tests.support.waiting import until

DAY = 86_400_000


class Groups:
    """Memberships over a proxy, and what the server knows of them."""

    def __init__(self, proxy: Proxy, admin: "Redis", patience: Patience) -> None:
        self.keys = QueueKeys(f"test-{uuid4().hex[:12]}")
        self.member = b"i:me:1"
        self.noted = f"{self.keys.prefix}|noted"
        self.admin = admin
        self.patience = patience
        self.link = Link(endpoint_of(proxy.url), LinkEvents(), patience)
        self.made: list[GroupMemberships] = []

    def make(self, lasts: int = DAY, **options: Any) -> GroupMemberships:
        made = GroupMemberships(
            self.keys, lambda: self.member, lambda key: self.link, self.patience, lasts, noted_in=None, **options
        )
        self.made.append(made)
        return made

    def make_noted(self) -> GroupMemberships:
        made = self.make()
        made._noted_in = self.noted.encode()
        return made

    def members(self, group: str = "room") -> set[str]:
        return set(self.admin.zrange(self.key(group), 0, -1))  # type: ignore[arg-type]

    def ends(self) -> float:
        return self.admin.zscore(self.key(), self.member) or 0.0

    def key(self, group: str = "room") -> str:
        return self.keys.group(group).decode()


@pytest.fixture
async def make_groups(proxy: Proxy, admin: "Redis") -> AsyncIterator[Callable[..., Groups]]:
    all_groups: list[Groups] = []

    def make(patience: Patience = QUIET) -> Groups:
        all_groups.append(Groups(proxy, admin, patience))
        return all_groups[-1]

    yield make
    for groups in all_groups:
        for made in groups.made:
            made.forget()
        await groups.link.close()


MakeGroups = Callable[..., Groups]


async def test_the_server_knows_who_has_joined_and_forgets_who_has_left(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    await of_me.join("room")
    assert groups.members() == {"i:me:1"}
    assert groups.admin.smembers(groups.noted) == {"room"}
    assert len(of_me) == 1
    of_me.leave("room")
    await until(lambda: not groups.members() and not groups.admin.exists(groups.noted))
    assert len(of_me) == 0
    of_me.leave("room")
    of_me.leave("never joined")
    assert len(of_me) == 0


async def test_what_is_wanted_last_holds(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make()
    for wanted in (True, False, True, False, True):
        joins = [asyncio.create_task(of_me.join("room"))]
        await asyncio.sleep(0)
        of_me.leave("room")
        if wanted:
            joins.append(asyncio.create_task(of_me.join("room")))
        await asyncio.gather(*joins)
        await until(partial(_is, groups, of_me, wanted))


def _is(groups: Groups, of_me: GroupMemberships, member: bool) -> bool:
    return bool(groups.members()) is member and len(of_me) == member


async def test_a_join_whose_answer_is_lost_is_told_again(make_groups: MakeGroups, proxy: Proxy) -> None:
    groups = make_groups()
    of_me = groups.make()
    await of_me.join("first")
    proxy.drop_reply()
    await of_me.join("room")
    assert groups.members() == {"i:me:1"}
    assert groups.link.reconnections == 1


async def test_who_left_before_the_answer_to_the_join_was_lost_is_no_member(
    make_groups: MakeGroups, proxy: Proxy
) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    await of_me.join("first")
    proxy.stop_reading("server")
    joining = asyncio.create_task(of_me.join("room"))
    await until(groups.members, "the server knows the member, and nobody here knows that")
    of_me.leave("room")
    proxy.cut()
    proxy.forward()
    await joining
    await until(lambda: not groups.members())
    await until(lambda: groups.admin.smembers(groups.noted) == {"first"})
    assert len(of_me) == 1


async def test_who_cannot_join_in_time_is_told_and_no_member_later(make_groups: MakeGroups, proxy: Proxy) -> None:
    groups = make_groups(Patience(send=0.2, ping_every=3600))
    of_me = groups.make()
    proxy.close()
    with pytest.raises(ServerUnreachable):
        await of_me.join("room")
    of_me.leave("room")
    proxy.forward()
    await of_me.join("other")
    assert groups.members() == set()
    assert len(of_me) == 1


async def test_a_join_goes_on_after_its_caller_has_given_up_until_it_is_taken_back(
    make_groups: MakeGroups, proxy: Proxy
) -> None:
    groups = make_groups(Patience(send=0.2, ping_every=3600))
    of_me = groups.make()
    proxy.close()
    with pytest.raises(ServerUnreachable):
        await of_me.join("room")
    proxy.forward()
    await until(groups.members)


async def test_who_cancels_every_task_there_is_ends_no_join(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make()
    joining = asyncio.create_task(of_me.join("room"))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if "fast-channels group" in task.get_name():
            task.cancel()  # before it has begun
    await joining
    assert groups.members() == {"i:me:1"}


async def test_what_is_left_while_every_task_was_cancelled_is_told_if_the_loop_goes_on(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make()
    await of_me.join("room")
    for task in asyncio.all_tasks():
        if "fast-channels" in task.get_name():
            task.cancel()
    await until(lambda: not groups.link.is_started)
    of_me.leave("room")
    assert not groups.link.is_started, "the loop may be ending"
    of_me.renew(memberships.RENEW_EVERY)
    await until(lambda: not groups.members())
    await until(lambda: len(of_me) == 0)


async def test_a_server_that_refuses_is_quoted_and_nothing_is_left_of_the_attempt(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    groups.admin.set(groups.key(), "no group")
    with pytest.raises(ServerRefused, match="WRONGTYPE"):
        await of_me.join("room")
    of_me.leave("room")
    await until(lambda: len(of_me) == 0, "nothing is tried for ever")
    groups.admin.delete(groups.key())
    await of_me.join("room")
    assert groups.members() == {"i:me:1"}


async def test_a_leave_that_is_refused_is_tried_again(
    make_groups: MakeGroups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memberships, "TRY_AGAIN", 0.02)
    groups = make_groups()
    of_me = groups.make()
    await of_me.join("room")
    groups.admin.rename(groups.key(), groups.key("elsewhere"))
    groups.admin.set(groups.key(), "no group")
    of_me.leave("room")
    await until(lambda: "WRONGTYPE" in caplog.text)
    groups.admin.rename(groups.key("elsewhere"), groups.key())
    await until(lambda: not groups.members())
    assert len(of_me) == 0
    assert caplog.text.count("WRONGTYPE") == 1, "one line an episode"


# Keeping them


async def test_a_membership_lasts_for_two_leases_at_least_and_is_renewed(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make(lasts=1)
    await of_me.join("room")
    left, ends = groups.admin.pttl(groups.key()), groups.ends()
    assert 7000 < left <= 8000
    await until(lambda: groups.admin.pttl(groups.key()) < left - 5)
    of_me.renew(1.0)
    await until(lambda: groups.ends() > ends)


async def test_every_membership_is_renewed_in_time(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make(lasts=1)  # 8 s: renewed in a third of that
    names = [f"room-{number}" for number in range(20)]
    await asyncio.gather(*(of_me.join(name) for name in names))
    for name in names:
        groups.admin.delete(groups.key(name))
    for _ in range(3):
        of_me.renew(1.0)
    await until(lambda: all(groups.members(name) for name in names))


async def test_a_server_that_lost_all_is_told_all_under_the_name_of_today(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    names = [f"room-{number}" for number in range(5)]
    await asyncio.gather(*(of_me.join(name) for name in names))
    groups.admin.delete(groups.noted, *map(groups.key, names))
    groups.member = b"i:me:2"
    assert await of_me.restore(anew=True) == 5
    assert [groups.members(name) for name in names] == [{"i:me:2"}] * 5
    assert groups.admin.smembers(groups.noted) == set(names)


async def test_who_leaves_while_all_is_told_again_is_no_member(make_groups: MakeGroups, proxy: Proxy) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    await of_me.join("room")
    groups.admin.delete(groups.noted, groups.key())
    groups.member = b"i:me:2"
    proxy.stop_reading("server")
    restoring = asyncio.create_task(of_me.restore(anew=True))
    await until(groups.members)
    of_me.leave("room")
    proxy.forward()
    await restoring
    await until(lambda: not groups.members() and not groups.admin.exists(groups.noted))
    assert len(of_me) == 0


async def test_what_the_server_forgets_while_it_is_told_again_is_told_once_more(
    make_groups: MakeGroups, proxy: Proxy
) -> None:
    groups = make_groups()
    shared = groups.make(is_shared=True)
    await shared.join("room")
    groups.admin.delete(groups.key())
    proxy.stop_reading("server")
    shared.renew(1.0)  # which keeps up what is there: nothing
    restoring = asyncio.create_task(shared.restore(anew=True))
    await asyncio.sleep(0)
    proxy.forward()
    await restoring
    assert groups.members() == {"i:me:1"}


async def test_a_shared_membership_that_somebody_else_ended_is_not_renewed(make_groups: MakeGroups) -> None:
    groups = make_groups()
    shared = groups.make(is_shared=True)
    await shared.join("room")
    groups.admin.zrem(groups.key(), "i:me:1")
    shared.renew(1.0)
    assert await shared.restore(anew=False) == 1
    assert groups.members() == set()


async def test_who_joins_again_is_a_member_also_if_somebody_else_ended_it(
    make_groups: MakeGroups, proxy: Proxy
) -> None:
    groups = make_groups()
    shared = groups.make(is_shared=True)
    for _ in range(2):
        await shared.join("room")
        assert groups.members() == {"i:me:1"}
        groups.admin.zrem(groups.key(), "i:me:1")
    proxy.stop_reading("server")
    shared.renew(1.0)  # which is under way when
    joining = asyncio.create_task(shared.join("room"))
    await asyncio.sleep(0)
    proxy.forward()
    await joining
    assert groups.members() == {"i:me:1"}
    shared.leave("room")
    await until(lambda: not groups.members())


async def test_a_shared_membership_that_ran_out_by_itself_is_made_again(
    make_groups: MakeGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "SHORTEST", 50)
    groups = make_groups()
    shared = groups.make(lasts=50, is_shared=True)
    await shared.join("room")
    await until(lambda: not groups.admin.exists(groups.key()), "as after an outage")
    await shared.restore(anew=False)
    assert groups.members() == {"i:me:1"}


# The end


async def test_closing_leaves_all_groups(make_groups: MakeGroups) -> None:
    groups = make_groups()
    of_me = groups.make_noted()
    for name in ("one", "two"):
        await of_me.join(name)
    await of_me.close()
    assert groups.members("one") | groups.members("two") == set()
    assert not groups.admin.exists(groups.noted)


async def test_closing_without_a_server_takes_a_second_and_leaves_no_task(
    make_groups: MakeGroups, proxy: Proxy
) -> None:
    groups = make_groups()
    of_me = groups.make()
    await of_me.join("room")
    proxy.close()
    of_me.renew(1.0)
    async with asyncio.timeout(5):
        await of_me.close()
    await until(lambda: not [task for task in asyncio.all_tasks() if "group" in task.get_name()])
    proxy.forward()
    await groups.link.call("PING")
    assert groups.members() == {"i:me:1"}, "nobody works on it any more"


async def test_what_is_forgotten_is_not_joined_later(make_groups: MakeGroups, proxy: Proxy) -> None:
    groups = make_groups()
    of_me = groups.make()
    await of_me.join("first")
    proxy.close()
    joining = asyncio.create_task(of_me.join("room"))
    of_me.renew(1.0)
    await asyncio.sleep(0)
    restoring = asyncio.create_task(of_me.restore(anew=True))
    await asyncio.sleep(0)
    of_me.forget()
    proxy.forward()
    await asyncio.gather(joining, restoring)
    groups.admin.delete(groups.key("first"))
    await groups.link.call("PING")
    assert groups.members() | groups.members("first") == set()
    assert len(of_me) == 0


# Joining through a layer


async def test_a_living_member_outlives_a_short_group_expiry(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue(group_expiry=0.1)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for number in range(8):
        await asyncio.sleep(0.1)  # longer than it lasts, again and again
        await layer.group_send("room", {"number": number})
        assert await layer.receive(channel) == {"number": number}


async def test_a_join_that_is_refused_leaves_the_older_members_where_they_are(
    make_queue: MakeQueue, admin: "Redis"
) -> None:
    layer = make_queue()
    old, new = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", old)
    key = f"{layer.prefix}|{{g:other}}|members"
    admin.set(key, "no group")
    with pytest.raises(ServerRefused):
        await layer.group_add("other", new)
    admin.delete(key)
    await layer.group_send("other", {"n": 0})
    await layer.group_send("room", {"n": 1})
    assert await layer.receive(old) == {"n": 1}
    assert layer.reader(new).take() is EMPTY


async def test_joins_and_leaves_of_many_tasks_end_as_the_last_call_says(make_queue: MakeQueue, admin: "Redis") -> None:
    layer = make_queue()
    channels = [await layer.new_channel() for _ in range(20)]

    async def churn(channel: str, ends_in: bool) -> None:
        for _ in range(5):
            await layer.group_add("room", channel)
            await layer.group_discard("room", channel)
        if ends_in:
            await layer.group_add("room", channel)

    await asyncio.gather(*(churn(channel, number % 2 == 0) for number, channel in enumerate(channels)))
    await layer.group_send("room", {"n": 1})
    got = await asyncio.gather(*(layer.receive(channel) for channel in channels[::2]))
    assert got == [{"n": 1}] * 10
    assert sorted((await layer.inspect())["groups"]["room"]) == sorted(channels[::2])
    await asyncio.gather(*(layer.group_discard("room", channel) for channel in channels))
    await until(lambda: not admin.exists(f"{layer.prefix}|{{g:room}}|members"))
