"""What a layer has on its servers can be seen, and emptied."""

import asyncio

import msgspec
import pytest
from redis import Redis

from fast_channels.layers.redis import survey
from fast_channels.layers.redis.keys import QueueKeys
from tests.layers.redis.conftest import MakeQueue
from tests.support.waiting import until


async def test_an_empty_layer(make_queue: MakeQueue, redis_url: str) -> None:
    layer = make_queue()
    assert await layer.inspect() == {
        "layer": "queue",
        "channels": {},
        "groups": {},
        "inboxes": {},
        "servers": [{"server": f"{redis_url}/0"}],
    }


async def test_a_shared_channel_with_its_depth_its_holders_and_its_dead(make_queue: MakeQueue) -> None:
    layer, other = make_queue(retry_delay=60), make_queue(max_deliveries=1)
    for n in range(5):
        await layer.send("jobs", {"n": n})
    await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError):
        async with layer.delivery("jobs"):
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with other.delivery("jobs"):
            raise ZeroDivisionError
    async with layer.delivery("jobs"):
        jobs = (await other.inspect())["channels"]["jobs"]
    assert 0.02 <= jobs.pop("oldest_age") < 30
    assert jobs == {"depth": 2, "delayed": 1, "held": {layer.client_prefix: 1}, "dead_letters": 1}
    assert (await other.inspect())["channels"]["jobs"]["held"] == {}


async def test_groups_with_their_members_and_inboxes_with_their_unread(make_queue: MakeQueue, admin: "Redis") -> None:
    layer, other = make_queue(), make_queue()
    mine = [await layer.new_channel() for _ in range(2)]
    theirs = await other.new_channel()
    for channel in (*mine, theirs, "jobs"):
        await layer.group_add("room", channel)
    stream = QueueKeys(layer.prefix).inbox(other.client_prefix).stream
    await until(lambda: not admin.xlen(stream), "it has read who asked it to join")
    await other._here().inboxes[other.client_prefix]._link.close()
    await layer.send(theirs, {"n": 1})
    await layer.send(mine[0], {"n": 1})
    await until(lambda: layer._here().inboxes[layer.client_prefix].local.mailboxes[mine[0]])
    seen = await layer.inspect()
    assert sorted(seen["groups"]["room"]) == sorted([*mine, f"inbox {other.client_prefix}", "jobs"])
    assert seen["channels"][mine[0]] == {"depth": 1}
    inbox = seen["inboxes"][other.client_prefix]
    assert inbox.pop("oldest_age") >= 0
    assert inbox == {"unread": 1, "groups": 1, "alive": True}


async def test_it_is_plain_data(make_queue: MakeQueue) -> None:
    layer = make_queue()
    await layer.group_add("room", await layer.new_channel())
    await layer.send("jobs", {"n": 1})
    seen = await layer.inspect()
    assert msgspec.json.decode(msgspec.json.encode(seen)) == seen


async def test_everything_on_several_servers_is_seen_and_emptied(
    make_queue: MakeQueue, redis_url: str, second_redis_url: str
) -> None:
    layer = make_queue(hosts=[redis_url, second_redis_url])
    names = [f"jobs-{n}" for n in range(20)]
    channel = await layer.new_channel()
    for name in names:
        await layer.send(name, {"n": 1})
        await layer.group_add(name, channel)
    seen = await layer.inspect()
    assert set(names) == set(seen["channels"]) == set(seen["groups"])
    assert len(seen["servers"]) == 2
    with Redis.from_url(second_redis_url) as second:
        assert second.keys(f"{layer.prefix}|*")
    await layer.flush()
    seen = await layer.inspect()
    assert (seen["channels"], seen["groups"]) == ({}, {})


async def test_many_keys_are_looked_for_step_by_step_and_other_prefixes_are_left_alone(
    make_queue: MakeQueue, admin: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "AT_ONCE", 7)
    layer = make_queue()
    stranger = make_queue(prefix=layer.prefix + "2")
    await stranger.send("jobs", {"n": 1})
    for n in range(30):
        await layer.send(f"jobs-{n}", {"n": 1})
    assert len((await layer.inspect())["channels"]) == 30
    await layer.flush()
    assert (await layer.inspect())["channels"] == {}
    assert await stranger.receive("jobs") == {"n": 1}
