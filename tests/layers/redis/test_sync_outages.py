"""`layer.sync` while servers are away, cut connections, or refuse: nothing is doubled, and nothing is silent."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import FastChannelsError, OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.courier import Courier
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.clusters import ClusterOfServers, slot_of
from tests.support.descriptors import open_sockets
from tests.support.proxy import Proxy
from tests.support.sync_contract import in_thread
from tests.support.waiting import PATIENCE

Kind = type[RedisChannelLayer] | type[RedisPubSubChannelLayer]
Make = Callable[..., Any]

each_layer = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    """Makes layers of one prefix; their `sync` is closed in the end."""
    prefix = f"test-{uuid4().hex[:12]}"
    layers: list[Any] = []

    def make(kind: Kind, url: str = redis_url, **options: Any) -> Any:
        layers.append(kind(**{"hosts": [url], "prefix": prefix, "capacity": 10_000, **options}))
        return layers[-1]

    yield make
    for layer in layers:
        layer.sync.close()


def is_an_answer(data: bytes) -> bool:
    """Whether a piece of what the server sends is what a script answered to one or more messages."""
    return data.startswith(b"$") and not data.startswith(b"$-")


# Answers that are lost


def test_an_answer_that_is_lost_doubles_nothing(make: Make, proxy: Proxy) -> None:
    sender, receiver = make(RedisChannelLayer, proxy.url), make(RedisChannelLayer)
    channel = receiver.sync.new_channel()
    for number in range(60):
        if number % 3 == 0:
            proxy.drop_reply(1, is_an_answer)
        sender.sync.send("jobs" if number % 2 else channel, {"n": number})
    assert [receiver.sync.receive(channel, timeout=PATIENCE)["n"] for _ in range(30)] == list(range(0, 60, 2))
    assert [receiver.sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(30)] == list(range(1, 60, 2))
    with pytest.raises(TimeoutError):
        receiver.sync.receive("jobs", timeout=0.05)
    with pytest.raises(TimeoutError):
        receiver.sync.receive(channel, timeout=0.05)
    assert sender.statistics().sent == 60
    assert sender.statistics().disconnections == sender.statistics().reconnections == 20


def test_nor_do_threads_whose_connections_are_cut_all_the_time(make: Make, proxy: Proxy) -> None:
    sender, receiver = make(RedisChannelLayer, proxy.url), make(RedisChannelLayer)
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.02):
            proxy.cut()

    def send(thread: int) -> None:
        for number in range(60):
            sender.sync.send("jobs", {"from": thread, "n": number})

    cutting = in_thread(cut)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, range(6)))
    over.set()
    cutting.result(PATIENCE)
    messages = [receiver.sync.receive("jobs", timeout=PATIENCE) for _ in range(360)]
    for thread in range(6):
        assert [message["n"] for message in messages if message["from"] == thread] == list(range(60))
    with pytest.raises(TimeoutError):
        receiver.sync.receive("jobs", timeout=0.05)
    assert sender.statistics().disconnections


def test_many_messages_at_once_survive_lost_answers_in_their_order(make: Make, proxy: Proxy) -> None:
    sender, receiver = make(RedisChannelLayer, proxy.url), make(RedisChannelLayer)
    channel = receiver.sync.new_channel()
    proxy.drop_reply(3, is_an_answer)
    sender.sync.send_many((channel, {"n": number}) for number in range(1000))
    assert [receiver.sync.receive(channel, timeout=PATIENCE)["n"] for _ in range(1000)] == list(range(1000))


def test_a_group_gets_each_message_once_over_lost_answers(make: Make, proxy: Proxy) -> None:
    sender, receiver = make(RedisChannelLayer, proxy.url), make(RedisChannelLayer)
    channel = receiver.sync.new_channel()
    receiver.sync.group_add("room", channel)
    for number in range(20):
        proxy.drop_reply(2)  # that of the members, and that of the inbox
        sender.sync.group_send("room", {"n": number})
    proxy.forward()
    sender.sync.send(channel, {"n": "last"})
    assert [receiver.sync.receive(channel, timeout=PATIENCE)["n"] for _ in range(21)] == [*range(20), "last"]


def test_what_was_published_when_the_answer_was_lost_is_told_and_not_repeated(make: Make, proxy: Proxy) -> None:
    sender, receiver = make(RedisPubSubChannelLayer, proxy.url), make(RedisPubSubChannelLayer)
    channel = receiver.sync.new_channel()
    sender.sync.send(channel, {"n": 0})
    proxy.drop_reply()
    with pytest.raises(OutcomeUnknown, match="broke before it answered, the outcome is unknown"):
        sender.sync.send(channel, {"n": 1})
    sender.sync.send(channel, {"n": 2})
    assert [receiver.sync.receive(channel, timeout=PATIENCE)["n"] for _ in range(3)] == [0, 1, 2]
    assert sender.statistics().sent == 2


def test_an_answer_that_never_comes_is_told_in_time(make: Make, proxy: Proxy) -> None:
    sender = make(RedisChannelLayer, proxy.url, send_timeout=1.5)
    sender.sync.send("jobs", {"n": 0})
    proxy.blackhole()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        sender.sync.send("jobs", {"n": 1})
    assert 1.4 < time.monotonic() - began < PATIENCE / 2
    with pytest.raises(ServerUnreachable):
        sender.sync.send("jobs", {"n": 2})
    proxy.forward()
    sender.sync.send("jobs", {"n": 3})


# Servers that are away


@each_layer
def test_a_server_that_is_not_there_is_told_as_in_a_loop(make: Make, kind: Kind) -> None:
    layer = make(kind, f"redis://127.0.0.1:{free_port()}", send_timeout=0.2)
    for call, awaited in (
        (lambda: layer.sync.send("jobs", {"n": 1}), lambda: layer.send("jobs", {"n": 1})),
        (lambda: layer.sync.group_send("room", {"n": 1}), lambda: layer.group_send("room", {"n": 1})),
    ):
        error, expected = told(call), told(lambda awaited=awaited: asyncio.run(awaited()))  # type: ignore[misc]
        assert type(error) is type(expected) is ServerUnreachable
        assert str(error).partition("Errno")[0] == str(expected).partition("Errno")[0]
        assert error.waited == expected.waited == 0.2


def told(call: Callable[[], Any]) -> Any:
    with pytest.raises(FastChannelsError) as told:
        call()
    return told.value


@each_layer
def test_all_of_many_messages_fail_together_if_there_is_no_server(make: Make, kind: Kind) -> None:
    layer = make(kind, f"redis://127.0.0.1:{free_port()}", send_timeout=3)
    began = time.monotonic()
    error = told(lambda: layer.sync.send_many(("jobs", {"n": number}) for number in range(5000)))
    assert time.monotonic() - began < 2 * 3  # not once for each of the batches
    assert len(error.failures) == 5000
    assert {type(failure.error) for failure in error.failures} == {ServerUnreachable}


@each_layer
def test_a_server_that_stays_silent_is_waited_for_once(make: Make, kind: Kind, proxy: Proxy) -> None:
    layer = make(kind, proxy.url, send_timeout=2)
    layer.sync.send("jobs", {"n": 0})
    proxy.blackhole()
    began = time.monotonic()
    error = told(lambda: layer.sync.send_many(("jobs", {"n": number}) for number in range(5000)))
    assert time.monotonic() - began < 2 * 2
    kinds = [type(failure.error) for failure in error.failures]
    tried = kinds.count(OutcomeUnknown)
    assert kinds == [OutcomeUnknown] * tried + [ServerUnreachable] * (5000 - tried)
    assert 0 < tried <= 1000


def test_a_connection_that_breaks_keeps_nothing_of_many_messages_from_the_next_one(make: Make, proxy: Proxy) -> None:
    layer = make(RedisPubSubChannelLayer, proxy.url)
    layer.sync.send("jobs", {"n": 0})
    proxy.drop_reply()
    error = told(lambda: layer.sync.send_many(("jobs", {"n": number}) for number in range(5000)))
    assert {type(failure.error) for failure in error.failures} == {OutcomeUnknown}
    assert [failure.index for failure in error.failures] == list(range(1000))
    assert error.sent == 4000


@each_layer
def test_a_wrong_password_is_told_at_once_as_in_a_loop(make: Make, kind: Kind) -> None:
    with ServerProcess({"requirepass": "right"}) as server:
        layer = make(kind, f"redis://:wrong@127.0.0.1:{server.port}", send_timeout=60)
        error = told(lambda: layer.sync.send("jobs", {"n": 1}))
        expected = told(lambda: asyncio.run(layer.send("jobs", {"n": 1})))
    assert type(error) is type(expected) is ServerRefused
    assert str(error) == str(expected)


@each_layer
def test_a_server_that_comes_back_is_waited_for(make: Make, kind: Kind, own_server: ServerProcess) -> None:
    layer = make(kind, own_server.url)
    layer.sync.send("jobs", {"n": 1})
    own_server.stop()
    sending = in_thread(layer.sync.send, "jobs", {"n": 2})
    time.sleep(0.1)
    own_server.start()
    sending.result(PATIENCE)
    layer.sync.group_send("room", {"n": 3})


@each_layer
def test_a_connection_that_was_closed_while_nobody_used_it_is_no_outage(
    make: Make, kind: Kind, own_server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make(kind, own_server.url)
    with Redis(port=own_server.port) as admin, caplog.at_level(logging.WARNING, "fast_channels"):
        for number in range(20):
            layer.sync.send("jobs", {"n": number})
            admin.client_kill_filter(_type="normal", skipme=True)
    assert layer.statistics().sent == 20
    assert layer.statistics().disconnections == 0
    assert not [record for record in caplog.records if "lost" in record.getMessage()]


def test_an_outage_is_two_lines_in_the_log(
    make: Make, own_server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make(RedisChannelLayer, own_server.url)
    own_server.stop()
    with caplog.at_level(logging.INFO, "fast_channels"), ThreadPoolExecutor(5) as pool:
        sending = [pool.submit(layer.sync.send, "jobs", {"n": 1}) for _ in range(5)]
        time.sleep(0.2)
        own_server.start()
        for each in sending:
            each.result(PATIENCE)
    away, back = [record.getMessage() for record in caplog.records]
    assert f"{own_server.url}/0 cannot be reached for sending: " in away
    assert f"{own_server.url}/0 is back for sending after " in back


def test_scripts_that_a_server_forgot_are_told_again(make: Make, own_server: ServerProcess) -> None:
    layer = make(RedisChannelLayer, own_server.url)
    with Redis(port=own_server.port) as admin:
        for number in range(3):
            layer.sync.send("jobs", {"n": number})
            admin.script_flush()
    assert [layer.sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(3)] == [0, 1, 2]


@each_layer
def test_a_server_that_became_a_replica_is_not_sent_to(make: Make, kind: Kind, own_server: ServerProcess) -> None:
    layer = make(kind, own_server.url)
    layer.sync.send("jobs", {"n": 1})
    with Redis(port=own_server.port) as admin:
        admin.replicaof("127.0.0.1", "1")
        admin.client_kill_filter(_type="normal", skipme=True)
        sending = in_thread(layer.sync.send, "jobs", {"n": 2})
        with pytest.raises(TimeoutError):
            sending.result(0.2)
        admin.replicaof("NO", "ONE")
        sending.result(PATIENCE)


def test_a_refusal_that_passes_is_waited_for(make: Make, own_server: ServerProcess) -> None:
    layer = make(RedisChannelLayer, own_server.url)
    layer.sync.send("jobs", {"n": 1})
    with Redis(port=own_server.port) as admin:
        admin.config_set("min-replicas-to-write", 1)  # NOREPLICAS
        sending = in_thread(layer.sync.send, "jobs", {"n": 2})
        with pytest.raises(TimeoutError):
            sending.result(0.2)
        admin.config_set("min-replicas-to-write", 0)
    sending.result(PATIENCE)
    assert [layer.sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(2)] == [1, 2]


def test_one_that_does_not_is_told(make: Make, own_server: ServerProcess) -> None:
    layer = make(RedisChannelLayer, own_server.url, send_timeout=1.5)
    with Redis(port=own_server.port) as admin:
        admin.config_set("min-replicas-to-write", 1)
        with pytest.raises(ServerRefused, match="NOREPLICAS"):
            layer.sync.send("jobs", {"n": 1})


def test_without_a_replica_nothing_is_replicated(make: Make) -> None:
    layer = make(RedisChannelLayer, durability="replicated", send_timeout=1.5)
    with pytest.raises(OutcomeUnknown, match="accepted the message, but no replica confirmed it"):
        layer.sync.send("jobs", {"n": 1})
    assert layer.sync.receive("jobs", timeout=PATIENCE) == {"n": 1}


def test_a_shard_that_is_away_keeps_nothing_from_the_others(make: Make, redis_url: str) -> None:
    layer = make(RedisChannelLayer, hosts=[redis_url, f"redis://127.0.0.1:{free_port()}"], send_timeout=2)
    away: list[str] = []
    there: list[str] = []
    for number in range(40):
        channel = f"jobs{number}"
        shard = layer._topology.place_of(layer._wiring.keys.shared(channel).ready)
        (away if shard else there).append(channel)
    error = told(lambda: layer.sync.send_many((channel, {"n": 1}) for channel in (*away, *there)))
    assert [failure.channel for failure in error.failures] == away
    assert error.sent == len(there)


LIVING, DEAD = range(2)


@pytest.fixture
def two_hosts(redis_url: str, own_server: ServerProcess) -> dict[str, list[str]]:
    """The second one is about to fail."""
    return {"hosts": [redis_url, own_server.url]}


def name_at(layer: Any, place: int, start: str) -> str:
    """A group and a shared channel whose keys are on that server."""
    keys = layer._wiring.keys
    for number in range(1000):
        name = f"{start}{number}"
        if {layer._topology.place_of(key) for key in (keys.group(name), keys.shared(name).ready)} == {place}:
            return name
    raise AssertionError("there is none")


@pytest.mark.parametrize("state", ["new", "connected", "idle", "closed"])
def test_a_group_on_a_dead_server_does_not_delay_the_other_groups_of_a_threads_message(
    make: Make, two_hosts: Any, own_server: ServerProcess, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = make(RedisChannelLayer, send_timeout=60, **two_hosts), make(RedisChannelLayer)
    living, gone = name_at(sender, LIVING, "g"), name_at(sender, DEAD, "g")
    jobs = name_at(sender, LIVING, "jobs")
    for group in (living, gone):
        sender.sync.group_add(group, jobs)
    if state != "new":  # it has connections to both
        sender.sync.group_send([gone, living], {"n": 0})
        assert receiver.sync.receive(jobs, timeout=PATIENCE) == {"n": 0}
    monkeypatch.setattr(Courier, "_is_check_due", lambda *_: state == "idle")
    own_server.kill() if state == "closed" else own_server.pause()
    sending = in_thread(sender.sync.group_send, [gone, living], {"n": 1})
    assert receiver.sync.receive(jobs, timeout=PATIENCE) == {"n": 1}
    assert not sending.done()
    own_server.start() if state == "closed" else own_server.resume()
    sending.result(PATIENCE)
    sender.sync.send(jobs, {"n": 2})
    assert receiver.sync.receive(jobs, timeout=PATIENCE) == {"n": 2}, "and it gets it once"


def test_the_members_that_only_the_other_server_knows_get_it_when_that_is_back(
    make: Make, two_hosts: Any, own_server: ServerProcess
) -> None:
    sender, receiver = make(RedisChannelLayer, send_timeout=60, **two_hosts), make(RedisChannelLayer)
    living, gone = name_at(sender, LIVING, "g"), name_at(sender, DEAD, "g")
    both, late, there = name_at(sender, LIVING, "both"), name_at(sender, LIVING, "late"), name_at(sender, DEAD, "there")
    for group, members in ((living, (both, there)), (gone, (both, late))):
        for member in members:
            sender.sync.group_add(group, member)
    own_server.pause()
    sending = in_thread(sender.sync.group_send, [gone, living], {"n": 1})
    assert receiver.sync.receive(both, timeout=PATIENCE) == {"n": 1}
    own_server.resume()
    sending.result(PATIENCE)
    assert receiver.sync.receive(late, timeout=PATIENCE) == {"n": 1}
    assert sender.sync.receive(there, timeout=PATIENCE) == {"n": 1}
    assert sender.statistics().group_sent == 1


def test_a_message_to_groups_waits_once_for_a_server_that_is_away(
    make: Make, two_hosts: Any, own_server: ServerProcess
) -> None:
    layer = make(RedisChannelLayer, send_timeout=3, **two_hosts)
    groups = [name_at(layer, DEAD, "a"), name_at(layer, DEAD, "b"), name_at(layer, LIVING, "c")]
    here, there = name_at(layer, LIVING, "jobs"), name_at(layer, DEAD, "jobs")
    for member in (there, here):
        layer.sync.group_add(groups[-1], member)
    own_server.pause()
    began = time.monotonic()
    assert type(told(lambda: layer.sync.group_send(groups, {"n": 1}))) is ServerUnreachable
    assert time.monotonic() - began < 2 * 3
    assert make(RedisChannelLayer).sync.receive(here, timeout=PATIENCE) == {"n": 1}


# A Cluster


@each_layer
def test_a_slot_that_moves_is_followed(make: Make, kind: Kind, cluster: ClusterOfServers) -> None:
    layer = make(kind, hosts=cluster.urls, cluster=True)
    channel = layer.sync.new_channel()
    layer.sync.send(channel, {"n": 0})
    layer.sync.send("jobs", {"n": 0})
    keys = layer._wiring.keys.shared("jobs").ready if kind is RedisChannelLayer else layer._addresses.shared("jobs")
    slot = slot_of(keys)
    for number in range(1, 4):
        cluster.move_slot(slot, cluster.other_master(cluster.owner_of(slot)))
        layer.sync.send("jobs", {"n": number})
    if kind is RedisChannelLayer:
        assert [layer.sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(4)] == [0, 1, 2, 3]


# What is kept


@each_layer
def test_threads_that_come_and_go_share_their_connections(make: Make, kind: Kind) -> None:
    layer = make(kind)
    layer.sync.send("jobs", {"n": 0})
    before = open_sockets()
    for _ in range(50):
        in_thread(layer.sync.send, "jobs", {"n": 1}).result(PATIENCE)
    assert open_sockets() == before
    assert len(layer.sync._senders.idle) == 1
    layer.sync.close()
    assert open_sockets() == before - 1


def test_threads_that_send_at_the_same_time_are_told_apart(make: Make, proxy: Proxy) -> None:
    layer = make(RedisChannelLayer, proxy.url)
    proxy.delay(0.05)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: layer.sync.send("jobs", {"n": number}), range(20)))
    names = [sender.name for sender in layer.sync._senders.idle]
    assert len(set(names)) == len(names) == 5


def test_a_log_handler_may_send_what_it_hears(make: Make, own_server: ServerProcess) -> None:
    """From within a call that sends."""
    layer = make(RedisChannelLayer, own_server.url, capacity=1)
    logs = make(RedisChannelLayer)

    class Sending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            layer.sync.group_send("others", {"text": record.getMessage()})
            logs.sync.send("logs", {"text": record.getMessage()})

    channel = layer.sync.new_channel()
    layer.sync.group_add("room", "jobs")
    handler, logger = Sending(), logging.getLogger("fast_channels.redis")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        for _ in range(2):
            layer.sync.group_send("room", {"n": 1})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert "over capacity" in logs.sync.receive("logs", timeout=PATIENCE)["text"]
    layer.sync.release_channel(channel)
