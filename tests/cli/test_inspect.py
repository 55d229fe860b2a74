"""`fast-channels inspect`, as a process, on real servers."""

import json
from pathlib import Path

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from tests.cli.commands import call


async def test_the_queue(tmp_path: Path, redis_url: str, prefix: str, server: list[str]) -> None:
    async with RedisChannelLayer(hosts=[redis_url], prefix=prefix) as layer:
        for member in (await layer.new_channel(), await layer.new_channel(), "jobs"):
            await layer.group_add("room", member)
        for n in range(3):
            await layer.send("jobs", {"n": n})
        async with layer.delivery("jobs"):
            done = await call(tmp_path, "inspect", *server)
            as_json = json.loads((await call(tmp_path, "inspect", "--json", *server)).out)
            lines = [line.split() for line in done.out.splitlines()]
            assert (done.code, done.err) == (0, "")
            assert lines[:2] == [["Channels"], ["channel", "waiting", "delayed", "oldest", "held", "dead"]]
            name, waiting, delayed, age, unit, held, dead = lines[2]
            assert (name, waiting, delayed, unit, held, dead) == ("jobs", "2", "0", "s", "1", "0")
            assert 0 <= float(age) < 60
            inbox = f"inbox {layer.client_prefix}"
            columns = ["group", "processes", "shared", "channels", "which"]
            assert lines[3:5] == [["Groups"], columns]
            assert lines[5][:3] == ["room", "1", "1"]
            assert sorted(" ".join(lines[5][3:]).split(", ")) == [inbox, "jobs"]
            assert lines[8] == [layer.client_prefix, "0", "-", "1", "yes"]
            assert sorted(as_json["groups"]["room"]) == [inbox, "jobs"]
            assert as_json["channels"]["jobs"]["depth"] == 2
        await layer.flush()
        done = await call(tmp_path, "inspect", *server)
        assert done.out.startswith("Channels: none\nGroups: none\n")


async def test_pubsub(tmp_path: Path, redis_url: str, prefix: str, server: list[str]) -> None:
    async with RedisPubSubChannelLayer(hosts=[redis_url], prefix=prefix) as layer:
        await layer.group_add("room", await layer.new_channel())
        done = await call(tmp_path, "inspect", "--pubsub", *server)
        lines = [line.split() for line in done.out.splitlines()]
        url = f"{redis_url}/0"
        assert lines[:2] == [["Who", "hears", "what"], ["what", "name", "connections", "server"]]
        assert sorted(lines[2:]) == [["group", "room", "1", url], ["inbox", layer.client_prefix, "1", url]]
        assert done.code == 0
    assert (await call(tmp_path, "inspect", "--pubsub", *server)).out == "Who hears what: none\n"
