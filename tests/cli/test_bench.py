"""`fast-channels bench`, as a process: it measures, draws, and removes what it made, however it ends."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from redis import Redis

from fast_channels.cli.plot import Bar, svg
from fast_channels.layers.redis import RedisChannelLayer
from fast_channels.testing.server import ServerProcess
from tests.cli.commands import call, end_of, process_of
from tests.support.acl import make_user
from tests.support.waiting import until


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server with nothing on it."""
    with ServerProcess() as server:
        yield server


def left_on(server: ServerProcess) -> list[str]:
    """The keys that stay for longer than a minute."""
    with Redis(port=server.port, decode_responses=True) as admin:
        return [key for key in admin.scan_iter() if not 0 <= admin.pttl(key) <= 60_000]


def write_layers(folder: Path, server: ServerProcess, refused: str | None = None) -> None:
    """A module that registers a queue, and another one at the URL `refused`."""
    code = (
        "from fast_channels.layers import register_channel_layer\n"
        "from fast_channels.layers.redis import RedisChannelLayer\n"
        f"register_channel_layer('jobs', RedisChannelLayer([{server.url!r}], 'shop', capacity=3))\n"
    )
    if refused is not None:
        code += f"register_channel_layer('refused', RedisChannelLayer([{refused!r}], 'shop'))\n"
    (folder / "layers.py").write_text(code)


MEMORY = "from fast_channels.layers import *\nregister_channel_layer('default', InMemoryChannelLayer())\n"

WORKS = ["one at a time", "one channel", "group of 100"]


async def test_every_layer_on_a_server_is_measured(tmp_path: Path, server: ServerProcess) -> None:
    done = await call(tmp_path, "bench", "--seconds", "0.05", "--plot", "rates.svg", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "")
    head, *rows = [re.split(r" {2,}", line) for line in done.out.splitlines()]
    assert head == ["layer", "work", "a second", "p50", "p99"]
    assert [row[:2] for row in rows] == [
        *(["in-memory", work] for work in WORKS),
        *(["pub/sub", work] for work in WORKS),
        *(["queue", work] for work in ("one at a time", "one channel", "shared channel", "group of 100")),
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
    picture = ET.fromstring((tmp_path / "rates.svg").read_text())
    assert len(picture.findall("{http://www.w3.org/2000/svg}rect")) == len(rows)
    assert left_on(server) == []


async def test_the_layers_of_the_application_keep_what_they_have(tmp_path: Path, server: ServerProcess) -> None:
    write_layers(tmp_path, server)
    async with RedisChannelLayer([server.url], "shop") as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send("jobs", {"n": 1})
        before = await layer.inspect()
        done = await call(tmp_path, "bench", "--seconds", "0.05", "--json", "--layers", "layers")
        after = await layer.inspect()
        assert before["channels"].keys() == after["channels"].keys()
        assert (before["groups"], list(before["inboxes"])) == (after["groups"], list(after["inboxes"]))
        assert await layer.receive("jobs") == {"n": 1}
    results: list[dict[str, Any]] = json.loads(done.out)
    assert {each["layer"] for each in results} == {"jobs"}
    assert 0 < results[0]["p50"] <= results[0]["p99"]
    assert results[1]["p50"] is None


@pytest.mark.parametrize(
    ("user", "option", "layer"), [("shop-live", "--pubsub", "pub/sub"), ("shop-queue", "--queue", "queue")]
)
async def test_a_user_who_may_use_one_layer_measures_that(
    tmp_path: Path, server: ServerProcess, user: str, option: str, layer: str
) -> None:
    with Redis(port=server.port) as admin:
        name, password = make_user(admin, user)
    url = f"redis://{name}:{quote(password)}@localhost:{server.port}"
    options = ("bench", "--seconds", "0.05", "--json", "--redis-url", url)
    refused = await call(tmp_path, *options)
    assert (refused.code, refused.out) == (1, "")
    advice = "; a user with fewer rights measures with --queue or --pubsub, and the --prefix that it has; "
    assert re.search(rf"NOPERM.*{advice}fast-channels doctor says which", refused.error)
    done = await call(tmp_path, *options, option, "--prefix", "shop")
    assert (done.code, done.err) == (0, "")
    assert {each["layer"] for each in json.loads(done.out)} == {layer}
    assert left_on(server) == []


async def test_of_several_layers_the_one_that_is_refused_is_named(tmp_path: Path, server: ServerProcess) -> None:
    with Redis(port=server.port) as admin:
        name, password = make_user(admin, "shop-live", "other")
    write_layers(tmp_path, server, f"redis://{name}:{quote(password)}@localhost:{server.port}")
    done = await call(tmp_path, "bench", "--seconds", "0.05", "--layers", "layers")
    assert (done.code, done.out) == (1, "")
    assert done.error.startswith(f"refused: redis://localhost:{server.port}/0 refused: NOPERM")
    assert "; measure another one with --layer; " in done.error
    done = await call(tmp_path, "bench", "--seconds", "0.05", "--layers", "layers", "--layer", "jobs")
    assert done.code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.timeout(120)
async def test_it_cleans_up_when_it_is_interrupted(
    tmp_path: Path, server: ServerProcess, number: signal.Signals
) -> None:
    write_layers(tmp_path, server)
    process = await process_of(tmp_path, "bench", "--seconds", "30", "--layers", "layers")
    try:
        await until(lambda: left_on(server) or process.returncode is not None)
        process.send_signal(number)
        done = await end_of(process)
    finally:
        if process.returncode is None:
            process.kill()
    assert (done.code, done.out, done.error) == (130, "", "interrupted")
    assert left_on(server) == []


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--plot", "x.png"], 2, "--plot draws SVG: name a file that ends with .svg, not x.png"),
        (["--plot", "nowhere/x.svg"], 2, "there is no folder "),
        (["--seconds", "0"], 2, "Invalid value for '--seconds'"),
        ([], 2, "no layer is registered"),
        (
            ["--layers", "layers", "--queue"],
            2,
            "--queue and --pubsub are for a server (--redis-url URL): choose a layer",
        ),
        (["--redis-url", "redis://:canary@localhost:1", "--seconds", "0.05"], 1, "redis://localhost:1/0 cannot be"),
    ],
)
async def test_what_cannot_be_measured(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    (tmp_path / "layers.py").write_text(MEMORY)
    done = await call(tmp_path, "bench", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.error.startswith(text)
    assert "canary" not in done.err


def test_a_picture_of_hostile_names() -> None:
    picture = ET.fromstring(svg("<title>", "&", [Bar("<a>", 1.0, "1"), Bar("b", 0.0, "0")]))
    assert "<a>" in [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert ET.fromstring(svg("", "", [])) is not None
