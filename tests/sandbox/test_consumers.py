"""The cards' consumers, and what workers do for them, on layers in memory."""

from pathlib import Path
from typing import Any

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator
from sandbox import store
from sandbox.consumers import ChatConsumer, JobsConsumer, LinesConsumer, NotificationConsumer
from sandbox.identity import JOBS, LINES
from sandbox.jobs import JobConsumer
from sandbox.lines import LineConsumer
from sandbox.reports import report

ALIASES = ("memory", "chat", "queue", "notifications")


@pytest.fixture(autouse=True)
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel_layers: ChannelLayerRegistry) -> Any:
    monkeypatch.setenv("SANDBOX_STORE", str(tmp_path / "store.sqlite"))
    for alias in ALIASES:
        channel_layers.register(alias, InMemoryChannelLayer())
    return channel_layers


async def opened(consumer: Any, path: str = "/") -> WebsocketCommunicator:
    page = WebsocketCommunicator(consumer.as_asgi(), path)
    assert (await page.connect())[0]
    assert (await page.receive_json_from())["type"] == "hello"
    return page


async def work(consumer: Any, layers: ChannelLayerRegistry, channel: str) -> None:
    """Handle what waits in `channel`, as a worker does."""
    message = await layers["queue"].receive(channel)
    worker = consumer()
    await worker.dispatch(message)


async def test_a_line_is_kept_by_a_worker_and_told_to_every_page(layers: ChannelLayerRegistry) -> None:
    page = await opened(LinesConsumer)
    for _ in range(2):  # the second time, the page has heard nothing of it
        await page.send_json_to({"type": "line", "id": "abcdef01", "name": "Ada", "text": "hello"})
        await work(LineConsumer, layers, LINES)
        kept = await page.receive_json_from()
        assert kept["type"] == "kept"
        assert (kept["line"]["seq"], kept["line"]["text"]) == (1, "hello")
    await page.send_json_to({"type": "resume", "after": 0})
    answer = await page.receive_json_from()
    assert ([line["text"] for line in answer["lines"]], answer["more"]) == (["hello"], False)
    await page.disconnect()


@pytest.mark.parametrize("bad", [{"type": "line", "id": "x", "text": "y"}, {"type": "resume", "after": -1}, {}, []])
async def test_what_cannot_be_asked_is_answered_with_an_error(bad: Any) -> None:
    page = await opened(LinesConsumer)
    await page.send_json_to(bad)
    assert (await page.receive_json_from())["type"] == "error"
    await page.send_json_to({"type": "resume"})
    assert (await page.receive_json_from())["type"] == "lines"
    await page.disconnect()


async def test_a_line_that_the_layer_does_not_take_comes_later(
    layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await opened(LinesConsumer)
    monkeypatch.setattr(layers["queue"], "send", unreachable)
    await page.send_json_to({"type": "line", "id": "abcdef01", "text": "hello"})
    answer = await page.receive_json_from()
    assert (answer["type"], answer["id"]) == ("later", "abcdef01")
    await page.disconnect()


async def unreachable(*_: object) -> None:
    raise ServerUnreachable("redis://127.0.0.1:1", 5.0, OSError("refused"))


@pytest.mark.parametrize(("consumer", "alias"), [(NotificationConsumer, "notifications"), (LinesConsumer, "queue")])
async def test_who_cannot_join_their_groups_may_come_back_later(
    layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch, consumer: Any, alias: str
) -> None:
    monkeypatch.setattr(layers[alias], "group_add", unreachable)
    assert await WebsocketCommunicator(consumer.as_asgi(), "/").connect() == (False, 1013)


async def test_a_room_that_cannot_be_joined_now_closes(
    layers: ChannelLayerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers["chat"], "group_add", unreachable)
    page = WebsocketCommunicator(ChatConsumer.as_asgi(), "/")
    page.scope["path_params"] = {"room": "lobby"}
    assert (await page.connect())[0]
    assert (await page.receive_output())["code"] == 1013
    await page.disconnect()


async def test_a_job_goes_on_where_it_stopped(layers: ChannelLayerRegistry) -> None:
    page = await opened(JobsConsumer)
    assert await page.receive_json_from() == {"type": "jobs", "jobs": []}
    await page.send_json_to({"count": 1, "seconds": 0.001})
    assert (await page.receive_json_from())["type"] == "started"
    job = (await page.receive_json_from())["job"]
    store.change_job(job["id"], state="running", step=28, worker="worker 7, which died")
    await work(JobConsumer, layers, JOBS)
    steps = [(await page.receive_json_from())["job"] for _ in range(3)]
    assert [(each["step"], each["state"]) for each in steps] == [(28, "running"), (29, "running"), (30, "done")]
    assert steps[-1]["workers"][0] == "worker 7, which died"
    await page.disconnect()


async def test_a_report_has_the_counters_and_depths_of_every_layer(layers: ChannelLayerRegistry) -> None:
    for _ in range(3):
        await layers["memory"].send("somewhere", {"type": "x"})
    said = await report("clock", asks_server=True)
    assert {alias: state["depth"] for alias, state in said["layers"].items()} == {
        alias: 3 if alias == "memory" else 0 for alias in ALIASES
    }
    assert said["layers"]["memory"]["sent"] == 3
    assert (await report("server"))["layers"]["queue"]["depth"] is None
