"""What is sent to one destination: in order, in batches, each once, whatever becomes of the answers."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import FastChannelsError, OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis import outbox as module
from fast_channels.layers.redis.keys import QueueKeys
from fast_channels.layers.redis.link import Link, LinkEvents, Patience
from fast_channels.layers.redis.outbox import ANSWER_KEPT, Outbox
from fast_channels.layers.redis.scripts import PUSH, Script
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import endpoint_of
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

CLIENT = "sender"


class Line:
    """An outbox to the shared channel `jobs` of a prefix of its own, and what arrived there."""

    def __init__(self, url: str, admin: "Redis", patience: Patience, script: Script = PUSH) -> None:
        names = QueueKeys(uuid4().hex)
        keys = names.shared("jobs")
        self.admin = admin
        self.ready, self.payloads = keys.ready.decode(), keys.payloads.decode()
        self.answered = names.answered(keys.ready, CLIENT)
        self.link = Link(endpoint_of(url), LinkEvents(), patience)
        self.numbers = itertools.count(1)
        self.outbox = Outbox(
            self.link,
            patience,
            script,
            (keys.ready, keys.payloads, keys.states, keys.delayed, keys.marks, self.answered),
            (ANSWER_KEPT, names.wake("jobs")),
            self.numbers,
            lambda answer: answer.partition(b":")[2].decode(),
        )

    def post(self, message: object, capacity: int = 100_000) -> "asyncio.Future[str]":
        payload = str(message).encode()
        return self.outbox.post((capacity, 60_000, payload), len(payload))

    async def send(self, message: object) -> str:
        """As a layer does."""
        return await self.post(message)

    def stored(self, admin: "Redis | None" = None) -> list[str]:
        """The messages on the server, in order."""
        found = (admin or self.admin).lrange(self.ready, 0, -1)
        return [(admin or self.admin).hget(self.payloads, id) for id in found]  # type: ignore[misc]


MakeLine = Callable[..., Line]


@pytest.fixture
async def make_line(admin: "Redis") -> AsyncIterator[MakeLine]:
    lines: list[Line] = []

    def make(url: str, script: Script = PUSH, **patience: Any) -> Line:
        lines.append(Line(url, admin, Patience(**{"ping_every": 3600, **patience}), script))
        return lines[-1]

    yield make
    for line in lines:
        await line.link.close()


class Scripted(Script):
    """A script that stands in the test."""

    def __init__(self, text: str) -> None:
        super().__init__("push")
        self._text = text.encode()
        self._sha = hashlib.sha1(self._text).hexdigest().encode()


def refuses(answer: str, after: int = 0, times: int = 1_000_000) -> Scripted:
    """Counts its calls, and answers with an error after some."""
    return Scripted(
        f"local call = redis.call('INCR', KEYS[1] .. 'calls')\n"
        f"if call > {after} and call <= {after + times} then return redis.error_reply('{answer}') end\n"
        f"local given = math.floor((#ARGV - 3) / 3)\n"
        f"return '0:' .. string.rep('1', given)"
    )


def calls(line: Line) -> int:
    return int(line.admin.get(f"{line.ready}calls") or 0)


async def connected(line: Line) -> None:
    """The server is back: whoever waits has time enough."""
    line.link.start()
    await until(lambda: line.link.connection is not None)


async def ends(posts: Sequence["asyncio.Future[str]"]) -> list[str | BaseException]:
    """What became of each."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*posts, return_exceptions=True)


# Batches


@both_loops
async def test_what_is_posted_in_one_turn_is_one_batch_in_its_order(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url)
    assert await ends([line.post(number) for number in range(100)]) == ["1"] * 100
    assert line.stored() == [str(number) for number in range(100)]
    assert line.admin.get(line.answered.decode()) == "1:" + "1" * 100
    assert repr(line.outbox) == f"<Outbox to {line.ready.encode()!r}: 0 on their way, 0 waiting>"
    assert line.outbox.idle


async def test_each_gets_its_own_answer(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url)
    assert await ends([line.post(number, capacity=3) for number in range(5)]) == ["1", "1", "1", "f", "f"]


@pytest.mark.parametrize(("size", "batches"), [(1, 4), (module.MOST_BYTES // 4 + 1, 250)])
async def test_a_batch_is_bounded_by_number_and_by_size(
    make_line: MakeLine, redis_url: str, size: int, batches: int
) -> None:
    line = make_line(redis_url, bytes=1000 * size)
    assert await ends([line.outbox.post((9999, 60_000, b"x"), size) for _ in range(1000)]) == ["1"] * 1000
    assert next(line.numbers) - 1 == batches


async def test_while_a_batch_is_on_its_way_the_next_one_grows(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    await line.post("first")
    proxy.delay(0.05)
    posts = [line.post("second")]
    await until(lambda: "1 on their way" in repr(line.outbox))
    posts += [line.post(number) for number in range(10)]
    await ends(posts)
    assert next(line.numbers) == 4
    assert line.stored() == ["first", "second", *map(str, range(10))]


async def test_a_message_may_be_anything_but_too_much(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url)
    await line.outbox.post((10, 60_000, b""), 0)
    await line.outbox.post((10, 60_000, b"x" * 3_000_000), 3_000_000)
    assert [len(message) for message in line.stored()] == [0, 3_000_000]


# Answers that are lost


@both_loops
async def test_a_lost_answer_doubles_nothing_and_lets_nothing_overtake(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    await line.post("first")
    for cut in range(4):
        proxy.drop_reply(1 + cut % 2)
        assert await ends([line.post(f"{cut}.{number}") for number in range(20)]) == ["1"] * 20
    assert line.stored() == ["first", *(f"{cut}.{number}" for cut in range(4) for number in range(20))]


async def test_a_batch_that_did_not_arrive_is_sent_again(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    await line.post("first")
    proxy.blackhole()
    post = line.post("second")
    await until(lambda: proxy.swallowed)
    behind = line.post("third")
    proxy.forward()
    proxy.cut()
    assert await ends([post, behind]) == ["1", "1"]
    assert line.stored() == ["first", "second", "third"]


@both_loops
async def test_connections_that_are_killed_over_and_over(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    posts = []
    for number in range(300):
        posts.append(line.post(number))
        if number % 30 == 7:
            proxy.cut(reset=number % 20 == 7)
        await asyncio.sleep(0)
    assert await ends(posts) == ["1"] * 300
    assert line.stored() == [str(number) for number in range(300)]


async def test_the_answer_of_a_full_channel_is_repeated_too(make_line: MakeLine, proxy: Proxy) -> None:
    """Even if there is room by then: what was refused is not stored behind its sender's back."""
    line = make_line(proxy.url)
    await line.post("first", capacity=1)
    proxy.drop_reply()
    assert await ends([line.post("second", capacity=1)]) == ["f"]
    assert line.stored() == ["first"]


async def test_after_its_time_the_outcome_is_unknown(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, send=1.5)
    await line.post("first")
    proxy.drop_reply(1000)
    started = asyncio.get_running_loop().time()
    with pytest.raises(OutcomeUnknown, match=f"^the connection to {proxy.url}/0 broke before it answered"):
        await line.post("second")
    assert 1.25 < asyncio.get_running_loop().time() - started < 5
    proxy.forward()
    await connected(line)
    assert await line.post("third") == "1"
    assert line.stored() == ["first", "second", "third"]


async def test_what_was_given_up_is_not_sent_after_all(make_line: MakeLine, proxy: Proxy) -> None:
    """The last attempt waits for a connection when the time of the first one is over."""
    line = make_line(proxy.url, refuses("LOADING wait"), send=0.6)
    post = line.post("x")
    await until(lambda: calls(line) >= 6)
    proxy.close()
    called = calls(line)
    with pytest.raises(OutcomeUnknown):
        await post
    proxy.forward()
    await connected(line)
    assert await line.link.call("PING") == b"PONG"
    assert calls(line) == called


async def test_a_refusal_after_a_lost_answer_leaves_the_outcome_unknown(make_line: MakeLine, proxy: Proxy) -> None:
    """The first attempt may have been stored."""
    line = make_line(proxy.url, refuses("OOM no memory", after=2))
    assert await line.post("first") == "1"
    proxy.drop_reply()
    with pytest.raises(OutcomeUnknown, match="OOM no memory"):
        await line.post("second")
    assert calls(line) == 3


async def test_no_room_for_another_attempt_leaves_the_outcome_unknown(make_line: MakeLine, proxy: Proxy) -> None:
    """Two batches are on their way when the connection breaks, and one command may wait for the next connection."""
    line = make_line(proxy.url, commands=1, send=0.3)
    other = Outbox(
        line.link, Patience(commands=1, send=0.3), PUSH, line.outbox._keys, line.outbox._arguments, line.numbers
    )
    await line.post("first")
    proxy.blackhole()
    posts = [line.post("second"), other.post((99, 60_000, b"third"), 5)]
    await until(lambda: proxy.swallowed)
    proxy.close()
    outcomes = await ends(posts)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, OutcomeUnknown]


# No server


async def test_without_a_server_nothing_was_sent(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, send=1.5)
    proxy.close()
    with pytest.raises(ServerUnreachable) as caught:
        await line.post("lost")
    assert caught.value.waited == 1.5
    proxy.forward()
    await connected(line)
    assert await line.post("stored") == "1"
    assert line.stored() == ["stored"]


async def test_who_waits_behind_other_batches_waits_no_longer_than_they_do(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, send=0.3)
    proxy.close()
    started = asyncio.get_running_loop().time()
    outcomes = await ends([line.post(number) for number in range(20 * module.MOST_POSTS)])
    assert {type(outcome) for outcome in outcomes} == {ServerUnreachable}
    assert asyncio.get_running_loop().time() - started < 3
    assert line.outbox.idle


async def test_what_waits_behind_a_lost_batch_is_sent_when_the_server_is_back(
    make_line: MakeLine, proxy: Proxy
) -> None:
    line = make_line(proxy.url, send=3.0)
    proxy.close()
    early = line.post("early")
    await asyncio.sleep(2.5)  # so that more time is left than a pause between two attempts to connect takes
    late = line.post("late")
    [outcome] = await ends([early])
    assert isinstance(outcome, ServerUnreachable)
    proxy.forward()
    assert await ends([late]) == ["1"]
    assert line.stored() == ["late"]


@pytest.mark.parametrize(("patience", "size"), [({"commands": 10}, 1), ({"bytes": 9_000}, 1000)])
async def test_what_waits_is_bounded_by_number_and_by_size(
    make_line: MakeLine, proxy: Proxy, patience: dict[str, int], size: int
) -> None:
    line = make_line(proxy.url, **patience)
    proxy.close()
    posts = [line.outbox.post((99, 60_000, b"x"), size) for _ in range(10)]
    with pytest.raises(ServerUnreachable, match="10 messages wait for it already"):
        _ = line.outbox.post((99, 60_000, b"x"), size)
    for post in posts[3:6]:
        post.cancel()
    posts += [line.outbox.post((99, 60_000, b"y"), size) for _ in range(3)]
    with pytest.raises(ServerUnreachable, match="10 messages wait for it already"):
        _ = line.outbox.post((99, 60_000, b"x"), size)
    proxy.forward()
    await ends(posts)
    assert line.stored() == ["x"] * 7 + ["y"] * 3
    await line.outbox.post((99, 60_000, b"x"), size)


def test_ten_thousand_may_wait() -> None:
    assert Patience().commands == 10_000


# Refusals


@pytest.mark.parametrize(
    "answer", ["LOADING wait", "BUSY a script runs", "READONLY a replica", "MASTERDOWN x", "TRYAGAIN x"]
)
async def test_what_a_server_refuses_for_now_is_sent_again(make_line: MakeLine, redis_url: str, answer: str) -> None:
    line = make_line(redis_url, refuses(answer, times=2))
    assert await line.post("x") == "1"
    assert calls(line) == 3


async def test_a_server_that_refuses_for_too_long_has_stored_nothing(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url, refuses("LOADING wait"), send=0.2)
    with pytest.raises(ServerRefused, match="LOADING wait"):
        await line.post("x")
    assert calls(line) >= 2
    assert line.outbox.idle


async def test_who_gives_up_with_an_attempt_under_way_does_not_know(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, refuses("LOADING wait"), send=0.4)
    post = line.post("x")
    await until(lambda: calls(line) >= 2)
    proxy.blackhole()
    with pytest.raises(OutcomeUnknown, match="LOADING wait"):
        await post


async def test_any_other_refusal_is_told_at_once(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url, refuses("ERR no"))
    outcomes = await ends([line.post("x"), line.post("y")])
    assert {type(outcome) for outcome in outcomes} == {ServerRefused}
    assert calls(line) == 1


async def test_a_replica_refuses_until_it_is_a_master(own_server: ServerProcess, make_line: MakeLine) -> None:
    with Redis(port=own_server.port, decode_responses=True) as admin:
        line = make_line(own_server.url)
        await line.post("first")
        admin.replicaof("127.0.0.1", 1)
        post = line.post("second")
        await until(lambda: "READONLY" in str(admin.info("errorstats")))
        assert not post.done()
        admin.replicaof("NO", "ONE")
        assert await ends([post]) == ["1"]
        assert line.stored(admin) == ["first", "second"]


async def test_a_server_that_has_forgotten_the_script_gets_its_text(make_line: MakeLine, redis_url: str) -> None:
    line = make_line(redis_url)
    for number in range(3):
        line.admin.script_flush()
        assert await line.post(number) == "1"
    assert line.stored() == ["0", "1", "2"]


async def test_a_server_without_memory_stores_nothing_and_says_so(
    own_server: ServerProcess, make_line: MakeLine
) -> None:
    line = make_line(own_server.url)
    await line.post("first")
    with Redis(port=own_server.port, decode_responses=True) as admin:
        admin.config_set("maxmemory", 1)
        outcomes = await ends([line.post("second"), line.post("third")])
        assert {type(outcome) for outcome in outcomes} == {ServerRefused}
        assert "OOM" in str(outcomes[0])
        admin.config_set("maxmemory", 0)
        assert await line.post("fourth") == "1"
        assert line.stored(admin) == ["first", "fourth"]


# Cancellation


@both_loops
async def test_a_sender_may_be_cancelled_at_any_moment(make_line: MakeLine, proxy: Proxy) -> None:
    """Its message is stored once or not at all, and the others are not disturbed."""
    line = make_line(proxy.url)
    await line.post("first")
    for turns in range(12):
        before, cancelled, after = (asyncio.create_task(line.send(f"{turns}{which}")) for which in "abc")
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(before, cancelled, after, return_exceptions=True)
        assert before.result() == after.result() == "1"
    assert line.outbox.idle
    stored = line.stored()
    assert len(set(stored)) == len(stored)
    assert [message for message in stored if not message.endswith("b")] == [
        "first",
        *(f"{turns}{which}" for turns in range(12) for which in "ac"),
    ]


async def test_who_gives_up_before_it_is_sent_sends_nothing(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    proxy.close()
    posts = [line.post(number) for number in range(3)]
    await until(lambda: "3 on their way" in repr(line.outbox))
    behind = [line.post("never"), line.post("last")]
    behind[0].cancel()
    proxy.forward()
    await ends([*posts, behind[1]])
    assert line.stored() == ["0", "1", "2", "last"]


async def test_nobody_hears_of_a_failure_that_nobody_waits_for(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, send=0.1)
    proxy.close()
    task = asyncio.create_task(line.send("x"))
    await until(lambda: "1 on their way" in repr(line.outbox))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: line.outbox.idle)


async def test_a_batch_that_nobody_waits_for_is_not_sent_again(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url)
    await line.post("first")
    proxy.blackhole()
    post = line.post("second")
    await until(lambda: proxy.swallowed)
    post.cancel()
    proxy.forward()
    proxy.cut()
    assert await line.post("third") == "1"
    assert line.stored() == ["first", "third"]


async def test_a_post_after_all_others_were_cancelled_is_sent_once(make_line: MakeLine, redis_url: str) -> None:
    """In the very turn in which they would have been sent."""
    line = make_line(redis_url, commands=5)
    await line.post("first")
    for post in [line.post(number) for number in range(5)]:
        post.cancel()
    assert await line.post("last") == "1"
    await line.post("after")
    assert line.stored() == ["first", "last", "after"]
    assert next(line.numbers) == 4


# The end


@both_loops
async def test_a_link_that_is_closed_stays_closed(make_line: MakeLine, proxy: Proxy) -> None:
    """Neither what is on its way nor what waits behind it opens it again."""
    line = make_line(proxy.url)
    await line.post("first")
    proxy.blackhole()
    posts = [line.post("second")]
    await until(lambda: proxy.swallowed)
    posts += [line.post("third")]
    await line.link.close()
    outcomes = await ends(posts)
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[1], ServerUnreachable)
    assert "the layer was closed" in str(outcomes[1])
    assert not line.link.is_started
    assert proxy.accepted == 1
    proxy.forward()
    assert await line.post("fourth") == "1"
    assert line.stored() == ["first", "fourth"]


async def test_every_failure_is_one_of_the_librarys(make_line: MakeLine, proxy: Proxy) -> None:
    line = make_line(proxy.url, send=0.1)
    proxy.drop_reply(1000)
    for outcome in await ends([line.post("x")]):
        assert isinstance(outcome, FastChannelsError)
