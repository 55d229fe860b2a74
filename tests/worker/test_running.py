"""A worker hands messages to consumers, and gives back what they fail on."""

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Any

import pytest

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import (
    ChannelLayerClosed,
    InvalidChannelLayerError,
    InvalidNameError,
    OutcomeUnknown,
    ServerRefused,
    ServerUnreachable,
    StopConsumer,
)
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.middleware import BaseMiddleware
from fast_channels.routing import ChannelNameRouter
from fast_channels.worker import run_worker
from fast_channels.worker.outage import Backoff
from tests.support.waiting import until
from tests.worker.working import Job, Jobs, job, working


@pytest.fixture
async def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def layer(in_memory_layer: InMemoryChannelLayer) -> InMemoryChannelLayer:
    return in_memory_layer


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for. All are short."""
    asked: list[float] = []
    real = Backoff.pause

    def pause(self: Backoff) -> float:
        asked.append(real(self))
        return 0.001

    monkeypatch.setattr(Backoff, "pause", pause)
    return asked


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """What the worker logged on one level."""
    ours = [record for record in caplog.records if record.name == "fast_channels.worker"]
    return [record.getMessage() for record in ours if record.levelno == level]


# Handling


async def test_a_message_goes_to_the_method_that_its_type_names_and_is_acknowledged(
    jobs: Jobs, layer: InMemoryChannelLayer
) -> None:
    await layer.send("jobs", job("do", 1))
    async with working(jobs.consumer(), ["jobs"], layer):
        await layer.send("jobs", job("do", 2))
        await until(lambda: jobs.done == [1, 2])
    assert not layer.channels


@pytest.mark.parametrize("name", ["in_memory_layer", "pubsub_layer", "queue_layer"])
async def test_any_layer_will_do(jobs: Jobs, name: str, request: pytest.FixtureRequest) -> None:
    layer = request.getfixturevalue(name)

    async def send_until_done() -> None:
        """On pub/sub, only who receives already gets it."""
        while not jobs.done:
            await layer.send("jobs", job("do"))
            await asyncio.sleep(0.01)

    async with working(jobs.consumer(), ["jobs"], layer) as worker:
        await asyncio.wait_for(send_until_done(), 30)
        assert not worker.done()


async def test_each_message_has_a_consumer_of_its_own(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    async with working(jobs.consumer(), ["jobs"], layer, concurrency=2):
        for number in range(4):
            await layer.send("jobs", job("do", number))
        await until(lambda: len(jobs.done) == 4)
    assert len(set(map(id, jobs.consumers))) == 4


async def test_a_class_of_consumers_is_an_application(layer: InMemoryChannelLayer) -> None:
    done = asyncio.Event()

    class Ringing(AsyncConsumer):
        async def ring(self, message: Any) -> None:
            done.set()

    async with working(Ringing, ["jobs"], layer):
        await layer.send("jobs", {"type": "ring"})
        await asyncio.wait_for(done.wait(), 10)


async def test_the_scope_says_which_channel_and_which_layer(layer: InMemoryChannelLayer, jobs: Jobs) -> None:
    await layer.send("jobs", job("do"))
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: jobs.done)
    assert jobs.consumers[0].scope == {"type": "channel", "channel": "jobs", "channel_layer": layer}


async def test_a_consumer_without_an_alias_has_the_layer_of_the_worker_and_a_channel_there(
    layer: InMemoryChannelLayer,
) -> None:
    answers: list[Any] = []

    class Asking(AsyncConsumer):
        async def ask(self, message: Any) -> None:
            assert self.channel_layer is layer
            await self.channel_layer.send("questions", {"type": "question", "reply_to": self.channel_name})
            answers.append(await self.channel_receive())

    class Answering(AsyncConsumer):
        async def question(self, message: Any) -> None:
            await self.channel_layer.send(message["reply_to"], {"type": "answer"})

    router = ChannelNameRouter({"asking": Asking, "questions": Answering})
    async with working(router, None, layer):
        await layer.send("asking", {"type": "ask"})
        await until(lambda: answers == [{"type": "answer"}])
    assert await layer.inspect() == {"layer": "in-memory", "channels": {}, "groups": {}}


async def test_a_consumer_with_an_alias_has_that_layer(
    jobs: Jobs, layer: InMemoryChannelLayer, channel_layers: ChannelLayerRegistry
) -> None:
    other = InMemoryChannelLayer()
    channel_layers.register("other", other)

    class Elsewhere(Job):
        channel_layer_alias = "other"

    await layer.send("jobs", job("do"))
    async with working(Elsewhere.as_asgi(jobs=jobs), ["jobs"], layer):
        await until(lambda: jobs.done)
    assert jobs.consumers[0].channel_layer is other


async def test_the_layer_may_be_an_alias(
    jobs: Jobs, layer: InMemoryChannelLayer, channel_layers: ChannelLayerRegistry
) -> None:
    channel_layers.register("queue", layer)
    task = asyncio.ensure_future(run_worker(jobs.consumer(), ["jobs"], layer="queue"))
    await layer.send("jobs", job("do"))
    await until(lambda: jobs.done)
    task.cancel()
    await asyncio.wait({task})


async def test_an_application_that_is_no_consumer_gets_the_message_once(layer: InMemoryChannelLayer) -> None:
    got: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            got.append((scope["channel"], await receive()))

    await layer.send("a", job("do", 1))
    await layer.send("b", job("do", 2))
    async with working(BaseMiddleware(ChannelNameRouter({"a": application, "b": application})), None, layer):
        await until(lambda: len(got) == 2 and not layer.channels)
    assert sorted(got) == [("a", job("do", 1)), ("b", job("do", 2))]


async def test_all_channels_of_the_router_are_served_or_those_that_are_named(
    jobs: Jobs, layer: InMemoryChannelLayer
) -> None:
    router = ChannelNameRouter(dict.fromkeys("abc", jobs.consumer()))
    for channel in "abc":
        await layer.send(channel, job("do"))
    async with working(router, ["a", "b", "a"], layer):
        await until(lambda: len(jobs.done) == 2)
    assert list(layer.channels) == ["c"]
    async with working(router, None, layer):
        await until(lambda: len(jobs.done) == 3)


# At once


async def test_no_more_handlers_than_allowed_run_at_once_on_a_channel(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    for number in range(7):
        await layer.send("jobs", job("wait", number))
    async with working(jobs.consumer(), ["jobs"], layer, concurrency=3):
        await until(lambda: jobs.running == 3)
        assert len(layer.channels["jobs"]) == 4
        jobs.may_end.set()
        await until(lambda: len(jobs.done) == 7)
    assert jobs.most_at_once == 3


async def test_a_busy_channel_holds_up_no_other(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    async with working(jobs.consumer(), ["slow", "fast"], layer):
        await layer.send("slow", job("wait", 1))
        await until(lambda: jobs.running)
        await layer.send("fast", job("do", 2))
        await until(lambda: jobs.done == [2])


async def test_one_at_a_time_is_in_order(jobs: Jobs, layer: InMemoryChannelLayer) -> None:
    for number in range(50):
        await layer.send("jobs", job("do", number))
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: len(jobs.done) == 50)
    assert jobs.done == list(range(50))


# Failures


async def test_what_a_handler_raises_is_logged_and_gives_the_message_back(
    jobs: Jobs, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("fail", 1))
    async with working(jobs.consumer(), ["jobs"], layer) as worker:
        await until(lambda: len(jobs.begun) >= 3)
        assert not worker.done()
    assert layer.channels["jobs"] == [job("fail", 1)]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == len(jobs.begun)
    assert records[0].getMessage() == "channel jobs: the handler of job.fail failed"
    assert records[0].exc_info is not None
    assert isinstance(records[0].exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "unheard.of"}, "No handler for message type unheard.of in Job"),
        ({"number": 1}, "no 'type' attribute"),
        ({"type": "dispatch"}, "No handler for message type dispatch in Job"),
        ({"type": "_begin"}, "leading underscore"),
    ],
)
async def test_a_message_without_a_handler_is_given_back(
    jobs: Jobs, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture, message: Any, error: str
) -> None:
    await layer.send("jobs", message)
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: "Traceback" in caplog.text)
    assert layer.channels["jobs"] == [message]
    assert "ValueError" in caplog.text
    assert error in caplog.text


async def test_a_failure_that_on_error_has_handled_is_none(layer: InMemoryChannelLayer) -> None:
    errors: list[Exception] = []

    class Careful(AsyncConsumer):
        async def fail(self, message: Any) -> None:
            raise ZeroDivisionError

        async def on_error(self, exc: Exception) -> None:
            errors.append(exc)

    async with working(Careful, ["jobs"], layer):
        await layer.send("jobs", {"type": "fail"})
        await until(lambda: errors)
    assert not layer.channels
    assert len(errors) == 1


async def test_a_consumer_that_ends_itself_has_handled_its_message(
    layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    class Ending(AsyncConsumer):
        async def end(self, message: Any) -> None:
            ended.set()
            raise StopConsumer

    await layer.send("jobs", {"type": "end"})
    async with working(Ending, ["jobs"], layer):
        await asyncio.wait_for(ended.wait(), 10)
    assert not layer.channels
    assert not lines(caplog, logging.ERROR)


async def test_there_is_no_client_to_send_to(layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    class Sending(AsyncConsumer):
        async def answer(self, message: Any) -> None:
            await self.send({"type": "websocket.send", "text": "hello"})

    await layer.send("jobs", {"type": "answer"})
    async with working(Sending, ["jobs"], layer):
        await until(lambda: "Traceback" in caplog.text)
    assert "a worker has no client to send websocket.send to: send through the channel layer" in caplog.text


async def test_a_handler_that_is_cancelled_by_something_else_fails_and_the_worker_goes_on(
    jobs: Jobs, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.send("jobs", job("cancel", 1))
    async with working(jobs.consumer(), ["jobs"], layer) as worker:
        await until(lambda: len(jobs.begun) >= 2)
        assert not worker.done()
    assert "RuntimeError: the handler ended with CancelledError, and nobody had cancelled it" in caplog.text
    assert layer.channels["jobs"] == [job("cancel", 1)]


async def test_a_message_that_fails_is_not_taken_again_without_a_pause(
    jobs: Jobs, layer: InMemoryChannelLayer, without_pauses: list[float]
) -> None:
    await layer.send("jobs", job("fail"))
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: len(jobs.begun) >= 3)
    assert len(without_pauses) >= 2


async def test_pauses_begin_again_after_a_success(
    jobs: Jobs, layer: InMemoryChannelLayer, without_pauses: list[float]
) -> None:
    class Uncertain(Job):
        async def job_do(self, message: Any) -> None:
            self.begin(message)
            if len(self.jobs.begun) % 4:
                raise ZeroDivisionError

    async with working(Uncertain.as_asgi(jobs=jobs), ["jobs"], layer):
        for number in range(2):
            await layer.send("jobs", job("do", number))
        await until(lambda: len(jobs.begun) == 8)
    assert [number for number, pause in enumerate(without_pauses) if pause < 0.15] == [0, 3]


async def test_an_application_that_asks_again_and_again_does_not_stop_the_others(
    jobs: Jobs, layer: InMemoryChannelLayer
) -> None:
    async def greedy(scope: Any, receive: Any, send: Any) -> None:
        while True:
            with suppress(StopConsumer):
                await receive()

    router = ChannelNameRouter({"greedy": greedy, "jobs": jobs.consumer()})
    await layer.send("greedy", job("do"))
    async with working(router, None, layer, grace=0) as worker:
        await layer.send("jobs", job("do", 1))
        await until(lambda: jobs.done == [1])
        assert not worker.done()  # as it is when the time for a test has run out


async def test_a_layer_that_delays_what_failed_is_asked_for_the_next_message_at_once(
    jobs: Jobs, without_pauses: list[float]
) -> None:
    class Delaying(InMemoryChannelLayer):
        dead_letters: Any = object()

    layer = Delaying()
    await layer.send("jobs", job("fail"))
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: len(jobs.begun) >= 3)
    assert not without_pauses


# Layers that fail


class Failing(InMemoryChannelLayer):
    """Raises `errors`, one after another, and works when there are none left."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)
        self.refuses_acknowledgements = 0

    async def receive(self, channel: str) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop()
        return await super().receive(channel)

    def delivery(self, channel: str) -> Any:
        return Acknowledged(self, super().delivery(channel))


class Acknowledged:
    """A delivery whose acknowledgement fails as often as its layer says."""

    def __init__(self, layer: Failing, inner: Any) -> None:
        self.layer = layer
        self.inner = inner

    async def __aenter__(self) -> Any:
        return await self.inner.__aenter__()

    async def __aexit__(self, *error: object) -> Any:
        result = await self.inner.__aexit__(*error)
        if self.layer.refuses_acknowledgements:
            self.layer.refuses_acknowledgements -= 1
            raise OutcomeUnknown("redis://there")
        return result


async def test_a_worker_outlives_what_its_layer_raises_and_logs_it_once(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, without_pauses: list[float]
) -> None:
    caplog.set_level(logging.INFO)
    layer = Failing(
        ServerRefused("redis://there", "LOADING"),
        OutcomeUnknown("redis://there"),
        RuntimeError("a bug"),
        ServerUnreachable("redis://there", 5.0),
    )
    await layer.send("jobs", job("do", 1))
    async with working(jobs.consumer(), ["jobs"], layer):
        await until(lambda: jobs.done == [1])
    [first] = lines(caplog, logging.ERROR)
    assert first.startswith("channel jobs: taking a message failed (ServerUnreachable: redis://there cannot be reached")
    assert any(line.startswith("channel jobs: messages come again, after 4 failed attempts") for line in lines(caplog))
    assert len(without_pauses) == 4


async def test_an_acknowledgement_that_fails_is_the_layers_failure(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    layer = Failing()
    layer.refuses_acknowledgements = 1
    async with working(jobs.consumer(), ["jobs"], layer):
        for number in range(3):
            await layer.send("jobs", job("do", number))
        await until(lambda: len(jobs.done) == 3)
    [line] = lines(caplog, logging.ERROR)
    assert line.startswith("channel jobs: acknowledging job.do failed (OutcomeUnknown: ")


async def test_giving_back_that_fails_is_the_layers_failure(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    class Full(InMemoryChannelLayer):
        async def _give_back(self, channel: str, message: dict[str, Any]) -> None:
            raise ServerUnreachable("redis://there", 5.0)

    layer = Full()
    async with working(jobs.consumer(), ["jobs"], layer):
        await layer.send("jobs", job("fail", 1))
        await layer.send("jobs", job("do", 2))
        await until(lambda: jobs.done == [2])
    failed, outage = lines(caplog, logging.ERROR)
    assert failed == "channel jobs: the handler of job.fail failed"
    assert outage.startswith("channel jobs: giving back job.fail failed (ServerUnreachable: ")


async def test_what_a_handler_cannot_reach_is_the_handlers_failure(
    jobs: Jobs, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    class Unlucky(Job):
        async def job_do(self, message: Any) -> None:
            self.begin(message)
            raise ServerUnreachable("redis://elsewhere", 5.0)

    await layer.send("jobs", job("do"))
    async with working(Unlucky.as_asgi(jobs=jobs), ["jobs"], layer):
        await until(lambda: jobs.begun)
    assert set(lines(caplog, logging.ERROR)) == {"channel jobs: the handler of job.do failed"}
    assert layer.channels["jobs"] == [job("do")]


async def test_a_layer_that_is_closed_ends_the_worker(
    jobs: Jobs, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with working(jobs.consumer(), ["jobs", "mails"], layer, concurrency=2) as worker:
        await layer.send("jobs", job("do"))
        await until(lambda: jobs.done)
        await layer.close()
        with pytest.raises(ChannelLayerClosed):
            await asyncio.wait_for(asyncio.shield(worker), 10)
    del worker
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert "worker stopping (the layer was closed while channel" in caplog.text
    assert lines(caplog)[-1] == "worker stopped: 1 message handled, 0 failures"


# What it is called with


async def anything(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


ROUTER = ChannelNameRouter({"jobs": anything, "mails": anything})


@pytest.mark.parametrize(
    ("application", "channels", "options", "kind", "text"),
    [
        (ROUTER, ["jobs", "joobs"], {}, ValueError, r"^channel 'joobs' is not in the router, which has: jobs, mails$"),
        (BaseMiddleware(ROUTER), ["joobs"], {}, ValueError, "not in the router"),
        (ROUTER, [], {}, ValueError, "at least one channel"),
        (ROUTER, "jobs", {}, ValueError, r"^channels is a list of names: \['jobs'\]$"),
        (ChannelNameRouter({}), None, {}, ValueError, "at least one channel"),
        (anything, None, {}, ValueError, "name the channels"),
        (anything, ["specific.abc!def"], {}, ValueError, "belongs to one process"),
        (anything, ["no spaces"], {}, InvalidNameError, "no spaces"),
        (anything, ["jobs"], {"concurrency": 0}, ValueError, r"^concurrency .* not 0$"),
        (anything, ["jobs"], {"concurrency": 1.5}, ValueError, r"^concurrency .* not 1\.5$"),
        (anything, ["jobs"], {"grace": -1}, ValueError, r"^grace .* not -1$"),
        (anything, ["jobs"], {"grace": float("nan")}, ValueError, r"^grace "),
        (anything, ["jobs"], {"layer": "xyz"}, InvalidChannelLayerError, "'xyz' not registered"),
        (None, ["jobs"], {}, TypeError, "needs a ChannelNameRouter"),
    ],
)
async def test_what_cannot_be_served_is_said_at_the_start(
    channel_layers: ChannelLayerRegistry, application: Any, channels: Any, options: Any, kind: Any, text: str
) -> None:
    channel_layers.register("default", InMemoryChannelLayer())
    with pytest.raises(kind, match=text):
        await run_worker(application, channels, **options)
