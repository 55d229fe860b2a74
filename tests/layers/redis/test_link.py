"""A connection that is kept: through outages, silence, and servers that do not read."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.link import Link, LinkEvents, Patience, backoff
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import endpoint_of
from tests.support.descriptors import open_sockets
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

EVER = 3600.0


class Diary(LinkEvents):
    """What a link tells its owner."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Any]] = []
        self.obstacles = 0

    def on_push(self, push: list[Any]) -> None:
        self.entries.append(("push", push))

    async def on_connect(self, connection: Connection) -> None:
        self.entries.append(("connect", connection))
        if self.obstacles:
            self.obstacles -= 1
            raise RuntimeError("an obstacle")

    def on_refused(self, error: ServerRefused) -> None:
        self.entries.append(("refused", error))

    def on_down(self, reason: BaseException) -> None:
        self.entries.append(("down", reason))

    def on_up(self, outage: float) -> None:
        self.entries.append(("up", outage))

    def words(self) -> list[str]:
        return [word for word, _ in self.entries]

    def of(self, word: str) -> list[Any]:
        return [what for said, what in self.entries if said == word]


MakeLink = Callable[..., Link]


@pytest.fixture
async def make_link() -> AsyncIterator[MakeLink]:
    links: list[Link] = []

    def make(url: str, events: LinkEvents | None = None, **patience: float) -> Link:
        links.append(Link(endpoint_of(url), events or LinkEvents(), Patience(**patience)))  # type: ignore[arg-type]
        return links[-1]

    yield make
    for link in links:
        await link.close()


@pytest.fixture
def key() -> str:
    return uuid4().hex


# The rule


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [
        (0, 0.0, 0.0),
        (0, 0.999, 0.0),
        (1, 0.0, 0.02),
        (1, 1.0, 0.1),
        (2, 1.0, 0.2),
        (3, 1.0, 0.4),
        (4, 0.5, 0.48),
        (5, 1.0, 1.6),
        (6, 1.0, 2.0),
        (6, 0.0, 0.4),
        (10_000, 1.0, 2.0),
    ],
)
def test_an_attempt_waits_longer_than_the_one_before_and_never_for_long(
    attempt: int, chance: float, seconds: float
) -> None:
    assert backoff(attempt, chance) == pytest.approx(seconds)


def test_a_silent_server_is_found_within_the_time_that_a_send_may_wait() -> None:
    assert Patience().ping_every + Patience().answer <= Patience().send


# Commands


@both_loops
async def test_a_call_connects_and_the_next_ones_share_the_connection(
    make_link: MakeLink, proxy: Proxy, key: str
) -> None:
    link = make_link(proxy.url)
    assert repr(link) == f"<Link {proxy.url}/0 idle, 0 commands waiting>"
    pushed = await asyncio.gather(*(link.call("RPUSH", key, number) for number in range(1000)))
    assert pushed == list(range(1, 1001))
    assert proxy.accepted == 1
    assert repr(link) == f"<Link {proxy.url}/0 connected, 0 commands waiting>"


async def test_an_error_of_the_server_is_raised_in_its_words(make_link: MakeLink, redis_url: str) -> None:
    link = make_link(redis_url)
    with pytest.raises(ServerRefused, match=rf"{redis_url}/0 refused: ERR unknown command 'NO-SUCH'") as caught:
        await link.call("NO-SUCH")
    assert caught.value.server == f"{redis_url}/0"
    assert await link.call("PING") == b"PONG"


@both_loops
async def test_calls_during_an_outage_go_out_in_their_order_when_it_ends(
    make_link: MakeLink, proxy: Proxy, key: str
) -> None:
    link = make_link(proxy.url, Diary())
    await link.call("PING")
    proxy.close()
    await until(lambda: link.connection is None)
    calls = [asyncio.create_task(link.call("RPUSH", key, number)) for number in range(100)]
    cancelled = calls.pop(50)
    await asyncio.sleep(0)
    cancelled.cancel()
    assert repr(link) == f"<Link {proxy.url}/0 connecting, 100 commands waiting>"
    proxy.forward()
    await asyncio.gather(*calls)
    calls.insert(50, asyncio.create_task(link.call("RPUSH", key, "later")))
    await calls[50]
    expected = [b"%d" % number for number in range(100) if number != 50] + [b"later"]
    assert await link.call("LRANGE", key, 0, -1) == expected


async def test_a_call_fails_after_its_time_and_names_the_server(make_link: MakeLink, proxy: Proxy) -> None:
    link = make_link(proxy.url.replace("//", "//someone:canary@"), send=0.2)
    proxy.close()
    began = time.monotonic()
    with pytest.raises(ServerUnreachable) as caught:
        await link.call("PING")
    assert 0.2 <= time.monotonic() - began < 10
    assert caught.value.server == f"{proxy.url}/0"
    assert caught.value.waited == 0.2
    assert str(caught.value).startswith(f"{proxy.url}/0 cannot be reached (waited 0.2 s): ")
    assert "canary" not in repr(link) + repr(caught.value)


@pytest.mark.parametrize("patience", [{"commands": 3}, {"bytes": 150}])
async def test_only_so_much_may_wait(make_link: MakeLink, proxy: Proxy, key: str, patience: dict[str, float]) -> None:
    link = make_link(proxy.url, **patience)
    proxy.close()
    waiting = [asyncio.create_task(link.call("RPUSH", key, number)) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServerUnreachable, match="3 commands wait for it already"):
        await link.call("RPUSH", key, "too much")
    proxy.forward()
    assert await asyncio.gather(*waiting) == [1, 2, 3]


async def test_a_command_whose_reply_is_cut_is_never_sent_again(make_link: MakeLink, proxy: Proxy, key: str) -> None:
    link = make_link(proxy.url, ping_every=EVER)
    await link.call("PING")
    proxy.drop_reply()
    with pytest.raises(OutcomeUnknown, match=f"{proxy.url}/0 broke before it answered") as caught:
        await link.call("RPUSH", key, "once")
    assert caught.value.server == f"{proxy.url}/0"
    assert await link.call("LRANGE", key, 0, -1) == [b"once"]


@both_loops
async def test_a_reply_cut_in_its_middle_is_no_reply(make_link: MakeLink, proxy: Proxy, key: str) -> None:
    link = make_link(proxy.url, ping_every=EVER)
    await link.call("SET", key, "x" * 1000)
    proxy.cut_reply_after(500)
    with pytest.raises(OutcomeUnknown):
        await link.call("GET", key)
    assert await link.call("GET", key) == b"x" * 1000


async def test_what_comes_after_the_end_of_a_connection_waits_for_the_next(
    make_link: MakeLink, redis_url: str, key: str
) -> None:
    """Nothing was sent, so nothing is unknown: also in the moment before the supervisor has noticed."""
    link = make_link(redis_url)
    await link.call("PING")
    assert link.connection is not None
    link.connection.close(ConnectionError("gone"))
    assert await link.call("RPUSH", key, "at once") == 1
    link.connection.close(ConnectionError("gone"))
    assert await asyncio.gather(*(link.call("RPUSH", key, number) for number in range(3))) == [2, 3, 4]


# Outages


@both_loops
async def test_an_outage_is_told_and_counted(make_link: MakeLink, proxy: Proxy, caplog: Any) -> None:
    diary = Diary()
    link = make_link(proxy.url, diary)
    await link.call("PING")
    assert diary.words() == ["connect"]
    with caplog.at_level(logging.INFO, "fast_channels"):
        for _ in range(3):
            proxy.cut()
            await until(lambda: link.connection is None)
            await link.call("PING")
    assert diary.words() == ["connect", *["down", "connect", "up"] * 3]
    assert all(0 <= outage < PATIENCE for outage in diary.of("up"))
    assert link.disconnections == link.reconnections == 3
    assert f"the connection to {proxy.url}/0 is lost: " in caplog.text
    assert f"{proxy.url}/0 is back after " in caplog.text


async def test_a_server_that_is_away_is_not_hammered(make_link: MakeLink, proxy: Proxy) -> None:
    proxy.close()
    link = make_link(proxy.url, send=1.5)
    with pytest.raises(ServerUnreachable):
        await link.call("PING")
    assert 2 <= proxy.accepted <= 15


async def test_who_waits_sees_an_attempt_in_their_time(
    make_link: MakeLink, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the server was away, and however long the pauses have become: here, 2 seconds."""
    monkeypatch.setattr(random, "random", lambda: 1.0)
    proxy.close()
    link = make_link(proxy.url, send=1.0)
    link.start()
    await until(lambda: proxy.accepted >= 7)
    proxy.forward()
    assert await link.call("PING") == b"PONG"


async def test_a_connection_that_cannot_be_restored_is_tried_again(make_link: MakeLink, redis_url: str) -> None:
    diary = Diary()
    diary.obstacles = 2
    link = make_link(redis_url, diary)
    assert await link.call("PING") == b"PONG"
    assert diary.words() == ["connect"] * 3 + ["up"]  # whoever was confirmed meanwhile may have missed something


@both_loops
async def test_a_server_that_stands_still_is_found_by_a_ping(make_link: MakeLink, own_server: ServerProcess) -> None:
    diary = Diary()
    link = make_link(own_server.url, diary, ping_every=0.2, answer=0.6)
    await link.call("PING")
    began = time.monotonic()
    own_server.pause()
    await until(lambda: diary.of("down"))
    assert time.monotonic() - began < 0.8 + 3
    assert str(diary.of("down")[0]) == "no answer to a ping for 0.6 s"
    own_server.resume()
    await until(lambda: diary.of("up"))
    assert diary.of("up")[0] >= 0.6


@both_loops
async def test_an_event_loop_that_was_blocked_does_not_blame_the_server(make_link: MakeLink, redis_url: str) -> None:
    link = make_link(redis_url, ping_every=0.05, answer=1.0)
    await link.call("PING")
    connection = link.connection
    assert connection is not None
    execute, pings = connection.execute, 0

    def ping(*args: bytes | str | int) -> "asyncio.Future[Any]":
        nonlocal pings
        if pings < 2:
            asyncio.get_running_loop().call_soon(time.sleep, 1.2)  # before the ping is written
        pings += 1
        return execute(*args)

    connection.execute = ping  # type: ignore[method-assign]
    await until(lambda: pings >= 4)
    assert link.disconnections == 0
    assert link.connection is connection


async def test_whoever_may_only_publish_is_pinged(make_link: MakeLink, own_server: ServerProcess) -> None:
    with Redis(port=own_server.port, decode_responses=True) as admin:
        admin.acl_setuser("teller", enabled=True, passwords=["+secret"], channels=["*"], commands=["+publish"])
        link = make_link(own_server.url.replace("//", "//teller:secret@"), ping_every=0.05)
        assert await link.call("PUBLISH", "x", "y") == 0
        await until(lambda: admin.info("commandstats")["cmdstat_hello"]["calls"] >= 4)
        assert admin.info("commandstats")["cmdstat_hello"]["rejected_calls"] == 0
    assert link.disconnections == 0


# Refusals


async def test_a_refusal_that_will_not_pass_fails_who_waits_at_once(
    make_link: MakeLink, redis_url: str, caplog: Any
) -> None:
    diary = Diary()
    link = make_link(redis_url.replace("//", "//someone:canary@"), diary, send=EVER)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ServerRefused, match="WRONGPASS") as caught:
            await link.call("PING")
    assert diary.of("refused") == [caught.value]
    assert "WRONGPASS" in caplog.text
    assert "canary" not in caplog.text + repr(caught.value)


async def test_a_server_that_does_not_know_the_greeting_repeats_it_and_we_do_not(
    make_link: MakeLink, redis_server: ServerProcess, caplog: Any
) -> None:
    with ServerProcess(binary=redis_server.binary, config={"rename-command": 'HELLO ""'}) as server:
        link = make_link(server.url.replace("//", "//:canary@"), send=EVER)
        with pytest.raises(ServerRefused, match="unknown command 'HELLO'") as caught:
            await link.call("PING")
        assert "canary" not in caplog.text + repr(caught.value)


async def test_a_refusal_that_passes_is_waited_for(make_link: MakeLink, own_server: ServerProcess, caplog: Any) -> None:
    with Redis(port=own_server.port) as admin:
        admin.config_set("maxclients", 1)
        link = make_link(own_server.url, send=EVER)
        call = asyncio.create_task(link.call("PING"))
        await until(lambda: "max number of clients" in caplog.text)
        assert not call.done()
        admin.config_set("maxclients", 100)
        async with asyncio.timeout(PATIENCE):
            assert await call == b"PONG"


# A server that does not read


@both_loops
async def test_commands_for_a_server_that_does_not_read_are_held_back_and_bounded(
    make_link: MakeLink, own_server: ServerProcess, key: str
) -> None:
    link = make_link(own_server.url, send=0.5, ping_every=EVER, bytes=8 * 1024 * 1024)
    await link.call("PING")
    payload, count = "x" * 65536, 1000

    async def push(number: int) -> str:
        try:
            await link.call("RPUSH", key, f"{number} {payload}")
        except ServerUnreachable as error:
            return str(error)
        return "sent"

    own_server.pause()
    calls = [asyncio.create_task(push(number)) for number in range(count)]
    await until(lambda: sum(call.done() for call in calls) > count / 2, "too much waits for a server that stands still")
    in_flight = count - sum(call.done() for call in calls)
    assert in_flight * len(payload) < 40e6, "4 MiB of buffer, 8 MiB that wait, and what the system takes"
    await until(lambda: any("it does not read" in call.result() for call in calls if call.done()))
    own_server.resume()
    results = await asyncio.gather(*calls)
    sent = [number for number, result in enumerate(results) if result == "sent"]
    arrived = [int(item.split()[0]) for item in await link.call("LRANGE", key, 0, -1)]
    assert arrived == sent
    held_back = [result for result in results if result != "sent"]
    assert all("it does not read" in result or "wait for it already" in result for result in held_back)
    assert link.disconnections == 0


# The end


async def test_closing_ends_everything_and_a_call_opens_it_again(make_link: MakeLink, proxy: Proxy) -> None:
    link = make_link(proxy.url)
    await link.close()
    for _ in range(3):
        assert await link.call("PING") == b"PONG"
        await link.close()
        await link.close()
        assert link.connection is None
    assert proxy.accepted == 3
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_who_waits_when_the_link_is_closed_is_told(make_link: MakeLink, proxy: Proxy) -> None:
    proxy.close()
    link = make_link(proxy.url, send=EVER)
    call = asyncio.create_task(link.call("PING"))
    await until(lambda: proxy.accepted)
    await link.close()
    with pytest.raises(ServerUnreachable, match="the layer was closed"):
        await call


@both_loops
async def test_closing_leaves_no_socket_to_a_server_that_does_not_read(
    make_link: MakeLink, own_server: ServerProcess
) -> None:
    before = open_sockets()
    link = make_link(own_server.url, ping_every=EVER)
    await link.call("PING")
    own_server.pause()
    calls = [asyncio.create_task(link.call("SET", "x", b"x" * 1_000_000)) for _ in range(30)]
    await until(lambda: link.connection is not None and link.connection.paused)
    await link.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {OutcomeUnknown, ServerUnreachable}
    await until(lambda: open_sockets() == before)
