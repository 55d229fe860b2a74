"""What a process wants to hear stays in force over every connection."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from fast_channels.exceptions import ServerRefused, ServerUnreachable
from fast_channels.layers.redis import subscriptions
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.subscriptions import Gap, Subscriptions
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import endpoint_of
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

EVER = 3600.0


class Listener:
    """Subscriptions, and what came of them."""

    def __init__(self, url: str, **patience: float) -> None:
        self.heard: list[bytes] = []
        self.gaps: list[Gap] = []
        self.downs = 0
        self.at_gap: Callable[[], None] = lambda: None
        options = Patience(**patience)  # type: ignore[arg-type]
        self.subscriptions = Subscriptions(endpoint_of(url), options, self._down, self._gap)

    def _down(self) -> None:
        self.downs += 1

    def _gap(self, gap: Gap) -> None:
        self.at_gap()
        self.gaps.append(gap)

    async def hear(self, *addresses: bytes) -> None:
        await asyncio.gather(*(self.subscriptions.subscribe(address, self.heard.append) for address in addresses))


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def make(url: str, **patience: float) -> Listener:
        listeners.append(Listener(url, **patience))
        return listeners[-1]

    yield make
    for listener in listeners:
        await listener.subscriptions.close()


@pytest.fixture
def prefix() -> bytes:
    return uuid4().hex.encode()


Listen = Callable[..., Listener]


def subscribed(admin: Redis, prefix: bytes) -> set[bytes]:
    """What the server believes that somebody hears."""
    return {str(name).encode() for name in admin.pubsub_channels(prefix.decode() + "*")}


# What is wanted is told to the server


@both_loops
async def test_what_is_published_after_the_confirmation_is_heard(
    listen: Listen, redis_url: str, admin: Redis, prefix: bytes
) -> None:
    listener = listen(redis_url)
    for number in range(50):
        address = prefix + b"%d" % number
        await listener.hear(address)
        assert admin.publish(address, address) == 1
    await until(lambda: listener.heard == [prefix + b"%d" % number for number in range(50)])
    assert listener.gaps == []
    assert len(listener.subscriptions) == 50


async def test_many_subscriptions_of_one_moment_are_few_commands(
    listen: Listen, redis_url: str, admin: Redis, prefix: bytes
) -> None:
    listener = listen(redis_url)
    await listener.hear(prefix)

    def commands() -> int:
        calls: int = admin.info("commandstats")["cmdstat_subscribe"]["calls"]
        return calls

    before = commands()
    addresses = [prefix + b"%d" % number for number in range(1200)]
    await listener.hear(*addresses, *addresses)
    assert commands() - before == 3
    assert subscribed(admin, prefix) == {prefix, *addresses}


async def test_what_is_not_wanted_any_more_is_not_subscribed(
    listen: Listen, redis_url: str, admin: Redis, prefix: bytes
) -> None:
    listener = listen(redis_url)
    await listener.hear(prefix + b"a", prefix + b"b")
    listener.subscriptions.unsubscribe(prefix + b"a")
    listener.subscriptions.unsubscribe(prefix + b"never")
    await until(lambda: subscribed(admin, prefix) == {prefix + b"b"})


@both_loops
async def test_whoever_comes_in_the_moment_in_which_another_leaves_is_confirmed(
    listen: Listen, redis_url: str, admin: Redis, prefix: bytes
) -> None:
    listener = listen(redis_url, send=EVER)
    await listener.hear(prefix)
    async with asyncio.timeout(PATIENCE):
        for number in range(10):
            listener.subscriptions.unsubscribe(prefix)
            await listener.hear(prefix)
            assert admin.publish(prefix, number) == 1
            await until(lambda: listener.heard[-1:] == [b"%d" % number])  # noqa: B023
    assert len(listener.heard) == 10


@both_loops
async def test_the_server_ends_up_with_what_is_wanted_after_any_coming_and_going(
    listen: Listen, redis_url: str, admin: Redis, prefix: bytes
) -> None:
    listener, chance = listen(redis_url, send=EVER), random.Random(2)
    addresses = [prefix + b"%d" % number for number in range(20)]
    wanted: set[bytes] = set()
    waiting: list[asyncio.Task[None]] = []
    for _ in range(3000):
        address = chance.choice(addresses)
        if address in wanted:
            listener.subscriptions.unsubscribe(address)
        else:
            waiting.append(asyncio.create_task(listener.hear(address)))
        wanted ^= {address}
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting)
    for address in set(addresses) - wanted:
        listener.subscriptions.unsubscribe(address)
    await listener.hear(*wanted)
    await until(lambda: subscribed(admin, prefix) == wanted)


# Outages


@both_loops
async def test_everything_is_confirmed_before_a_gap_is_reported(
    listen: Listen, proxy: Proxy, admin: Redis, prefix: bytes
) -> None:
    listener = listen(proxy.url)
    addresses = {prefix + b"%d" % number for number in range(1100)}
    await listener.hear(*addresses)
    confirmed: list[set[bytes]] = []
    listener.at_gap = lambda: confirmed.append(subscribed(admin, prefix))
    for outages in (1, 2):
        proxy.cut()
        await until(lambda: len(listener.gaps) == outages)  # noqa: B023
        assert confirmed[-1] == addresses
        assert listener.downs == outages
    gap = listener.gaps[-1]
    assert gap.server == f"{proxy.url}/0"
    assert gap.addresses == 1100
    assert 0 <= gap.seconds < PATIENCE
    assert gap.reason
    for address in sorted(addresses)[:10]:
        assert admin.publish(address, "again") == 1
    await until(lambda: listener.heard == [b"again"] * 10)


async def test_a_gap_begins_with_the_silence_and_not_with_its_discovery(
    listen: Listen, proxy: Proxy, admin: Redis, prefix: bytes
) -> None:
    listener = listen(proxy.url, ping_every=0.1, answer=0.5)
    await listener.hear(prefix)
    proxy.blackhole()
    assert admin.publish(prefix, "lost") == 1
    await until(lambda: listener.downs)
    proxy.forward()
    await until(lambda: listener.gaps)
    assert listener.gaps[0].seconds >= 0.5
    assert listener.gaps[0].reason == "no answer to a ping for 0.5 s"
    assert listener.heard == []


async def test_coming_and_going_does_not_keep_a_connection_from_being_restored(
    listen: Listen, proxy: Proxy, prefix: bytes
) -> None:
    """There is always somebody new while the server's confirmation is under way."""
    listener = listen(proxy.url, send=EVER, restore=EVER)
    await listener.hear(prefix)

    async def come(number: int) -> None:
        await listener.hear(prefix + b"%d" % number)

    async def crowd() -> None:
        coming = [asyncio.create_task(come(0))]
        while not listener.gaps:
            coming.append(asyncio.create_task(come(len(coming))))
            await asyncio.sleep(0.002)
        await asyncio.gather(*coming)

    proxy.delay(0.02)
    proxy.cut()
    async with asyncio.timeout(PATIENCE):
        await crowd()


async def test_what_is_wanted_during_an_outage_is_subscribed_after_it(
    listen: Listen, proxy: Proxy, admin: Redis, prefix: bytes
) -> None:
    listener = listen(proxy.url, send=EVER)
    await listener.hear(prefix + b"old")
    proxy.close()
    await until(lambda: listener.downs)
    waiting = asyncio.create_task(listener.hear(prefix + b"new"))
    listener.subscriptions.want(prefix + b"wanted", listener.heard.append)
    listener.subscriptions.unsubscribe(prefix + b"old")
    await asyncio.sleep(0)
    proxy.forward()
    await waiting
    await until(lambda: subscribed(admin, prefix) == {prefix + b"new", prefix + b"wanted"})


# Nobody there


async def test_a_wait_that_was_in_vain_says_why_and_leaves_the_wish(
    listen: Listen, proxy: Proxy, admin: Redis, prefix: bytes
) -> None:
    listener = listen(proxy.url, send=0.3)
    proxy.close()
    with pytest.raises(ServerUnreachable, match=rf"{proxy.url}/0 cannot be reached \(waited 0\.3 s\): \S+") as caught:
        await listener.hear(prefix)
    assert caught.value.server == f"{proxy.url}/0"
    proxy.forward()
    await until(lambda: subscribed(admin, prefix) == {prefix})
    listener.subscriptions.unsubscribe(prefix)
    await until(lambda: not subscribed(admin, prefix))


async def test_nobodys_wait_ends_anothers_who_came_later(listen: Listen, proxy: Proxy, prefix: bytes) -> None:
    listener = listen(proxy.url, send=0.3)
    proxy.close()
    first = asyncio.create_task(listener.hear(prefix))
    await until(lambda: len(listener.subscriptions) == 1)
    listener.subscriptions._patience = Patience(send=EVER)
    second = asyncio.create_task(listener.hear(prefix))
    with pytest.raises(ServerUnreachable):
        await first
    assert not second.done()
    proxy.forward()
    await second


async def test_who_waits_when_everything_is_closed_is_told(listen: Listen, proxy: Proxy, prefix: bytes) -> None:
    listener = listen(proxy.url, send=EVER)
    proxy.close()
    waiting = asyncio.create_task(listener.hear(prefix))
    await until(lambda: proxy.accepted)
    await listener.subscriptions.close()
    with pytest.raises(ServerUnreachable, match="the layer was closed"):
        await waiting
    proxy.forward()
    await listener.hear(prefix)


async def test_closing_ends_all_subscriptions(listen: Listen, redis_url: str, admin: Redis, prefix: bytes) -> None:
    listener = listen(redis_url)
    await listener.hear(prefix)
    await listener.subscriptions.close()
    await listener.subscriptions.close()
    await until(lambda: not subscribed(admin, prefix))
    await listener.hear(prefix)
    assert subscribed(admin, prefix) == {prefix}
    assert listener.gaps == []


# Refusals


@pytest.fixture
def restricted(own_server: ServerProcess) -> ServerProcess:
    """A server that lets the user `ear` with the password `secret` hear `open*` alone."""
    with Redis(port=own_server.port) as admin:
        admin.acl_setuser("ear", enabled=True, passwords=["+secret"], channels=["open*"], commands=["+@all"])
    return own_server


def as_ear(server: ServerProcess) -> str:
    return server.url.replace("//", "//ear:secret@")


@both_loops
async def test_an_address_that_is_refused_is_refused_alone(listen: Listen, restricted: ServerProcess) -> None:
    listener = listen(as_ear(restricted))
    addresses = [b"open-%d" % number for number in range(20)]
    waiting = [asyncio.create_task(listener.hear(address)) for address in [*addresses, b"secret-one"]]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert done[:20] == [None] * 20
    assert isinstance(done[20], ServerRefused)
    assert "NOPERM" in str(done[20])
    with Redis(port=restricted.port) as admin:
        assert all(admin.publish(address, address) == 1 for address in addresses)
    await until(lambda: listener.heard == addresses)
    with pytest.raises(ServerRefused):
        await listener.hear(b"secret-one")
    assert len(listener.subscriptions) == 20


async def test_an_address_that_is_refused_after_an_outage_is_tried_again_and_the_log_says_so(
    listen: Listen, restricted: ServerProcess, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "TRY_AGAIN", 0.1)
    with Proxy(restricted.port) as proxy, Redis(port=restricted.port) as admin:
        listener = listen(proxy.url.replace("//", "//ear:secret@"))
        addresses = [b"open-%d" % number for number in range(20)]
        await listener.hear(*addresses)
        proxy.delay(0.05)
        confirmed: list[set[bytes]] = []
        listener.at_gap = lambda: confirmed.append({name for name in admin.pubsub_channels() if name in addresses})
        with caplog.at_level(logging.WARNING, "fast_channels"):
            # a user who loses a right loses the connection that uses it
            allowed = [address.decode() for address in addresses if address != b"open-7"]
            admin.acl_setuser("ear", enabled=True, reset_channels=True, channels=allowed)
            await until(lambda: listener.gaps)
            assert confirmed == [set(addresses) - {b"open-7"}]
            assert "open-7 is not heard, and is tried again" in caplog.text
            assert listener.gaps[0].addresses == 19
            admin.acl_setuser("ear", enabled=True, channels=["open-7"])
            await until(lambda: b"open-7" in admin.pubsub_channels())


async def test_credentials_that_are_refused_are_told_at_once(listen: Listen, restricted: ServerProcess) -> None:
    listener = listen(restricted.url.replace("//", "//ear:canary@"), send=EVER)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ServerRefused, match="WRONGPASS") as caught:
            await listener.hear(b"open")
    assert "canary" not in repr(caught.value) + repr(listener.subscriptions)


async def test_what_was_heard_before_is_heard_again_when_credentials_are_good_again(
    listen: Listen, restricted: ServerProcess
) -> None:
    listener = listen(as_ear(restricted), send=EVER)
    await listener.hear(b"open")
    with Redis(port=restricted.port) as admin:
        admin.acl_setuser("ear", enabled=True, passwords=["-secret"])
        admin.client_kill_filter(_type="pubsub")
        await until(lambda: listener.downs)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ServerRefused):
                await listener.hear(b"open-2")
        admin.acl_setuser("ear", enabled=True, passwords=["+secret"])
        await until(lambda: listener.gaps)
        assert admin.publish("open", "again") == 1
    await until(lambda: listener.heard == [b"again"])
