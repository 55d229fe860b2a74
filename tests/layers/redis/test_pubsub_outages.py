"""The pub/sub layer while its server is away: what waits, what is lost, and who is told."""

import asyncio
import logging
import time
import traceback
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import Addresses
from fast_channels.testing.server import ServerProcess
from tests.layers.redis.conftest import QUIET, MakeLayer, receiving
from tests.support.loops import both_loops
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, until

Layer = RedisPubSubChannelLayer
EVER = 3600.0
CANARY = "canary/+ @:7b1"


# Sending


@both_loops
async def test_what_is_sent_during_an_outage_arrives_once_and_in_order_after_it(
    make_layer: MakeLayer, proxy: Proxy
) -> None:
    layer, sender = make_layer(), make_layer(hosts=[proxy.url])
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await sender.send(channel, "before")
    proxy.close()
    await until(lambda: sender.statistics().disconnections)
    sends = [asyncio.create_task(sender.send(channel, number)) for number in range(0, 60, 2)]
    sends[15:15] = [asyncio.create_task(sender.group_send("room", number)) for number in range(1, 60, 2)]
    await asyncio.sleep(0)
    proxy.forward()
    await asyncio.gather(*sends)
    await sender.send(channel, "after")
    messages = []
    while (message := await layer.receive(channel)) != "after":
        messages.append(message)
    assert messages[0] == "before"
    assert [number for number in messages[1:] if number % 2 == 0] == list(range(0, 60, 2))
    assert [number for number in messages[1:] if number % 2] == list(range(1, 60, 2))
    assert sender.statistics().reconnections == 1


@pytest.mark.parametrize("how", ["send", "group_send", "new_channel", "receive", "inspect"])
async def test_what_cannot_be_done_in_time_fails_and_names_the_server(
    make_layer: MakeLayer, proxy: Proxy, how: str
) -> None:
    proxy.close()
    layer = make_layer(hosts=[proxy.url.replace("//", f"//someone:{quote(CANARY, safe='')}@")], send_timeout=0.3)
    call = getattr(layer, how)
    arguments: tuple[Any, ...] = {"send": ("x", {}), "group_send": ("x", {}), "receive": ("x",)}.get(how, ())
    began = time.monotonic()
    with pytest.raises(ServerUnreachable, match=rf"^{proxy.url}/0 cannot be reached \(waited 0\.3 s\): \S+") as caught:
        await call(*arguments)
    assert 0.3 <= time.monotonic() - began < PATIENCE
    assert caught.value.server == f"{proxy.url}/0"


@both_loops
@pytest.mark.parametrize("how", ["drop_reply", "cut_reply"])
async def test_a_send_whose_answer_is_lost_is_not_repeated_and_says_so(
    make_layer: MakeLayer, proxy: Proxy, how: str
) -> None:
    layer, sender = make_layer(), make_layer(QUIET, hosts=[proxy.url])
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for number in range(10):
        await sender.send(channel, "before")
        proxy.drop_reply() if how == "drop_reply" else proxy.cut_reply_after(2)
        with pytest.raises(OutcomeUnknown) as caught:
            await (sender.send(channel, number) if number % 2 else sender.group_send("room", number))
        assert caught.value.server == f"{proxy.url}/0"
    await sender.send(channel, "after")
    expected = [message for number in range(10) for message in ("before", number)] + ["after"]
    assert [await layer.receive(channel) for _ in expected] == expected
    assert layer.statistics().dropped == {}


# Receiving


@both_loops
async def test_who_receives_goes_on_after_an_outage_and_everything_is_in_force_when_it_is_reported(
    make_layer: MakeLayer, proxy: Proxy, caplog: Any
) -> None:
    told: list[str] = []
    sent: list[Any] = []
    sender = make_layer()

    async def back(layer: Layer) -> None:
        for group in ("room", "hall"):
            await sender.group_send(group, f"{group} {len(told)}")
        for channel in (first, "plain"):
            await sender.send(channel, f"{channel} {len(told)}")
        sent.append(layer.last_gap)

    layer = make_layer(hosts=[proxy.url], on_disconnect=lambda layer: told.append(layer.prefix), on_reconnect=back)
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", first)
    await layer.group_add("hall", second)
    for outage in range(1, 4):
        plain = await receiving(layer, "plain")
        waiting = asyncio.create_task(layer.receive(second))
        proxy.cut()
        assert await waiting == f"hall {outage}"
        assert await plain == f"plain {outage}"
        assert {await layer.receive(first) for _ in range(2)} == {f"room {outage}", f"{first} {outage}"}
        await until(lambda: len(sent) == outage)  # noqa: B023
        assert told == [layer.prefix] * outage
    gap = layer.last_gap
    assert gap is not None
    assert gap is sent[-1]
    assert (gap.server, gap.addresses) == (f"{proxy.url}/0", 4)
    assert 0 <= gap.seconds < PATIENCE
    lines = [line for line in caplog.messages if "what was published then is lost" in line]
    assert len(lines) == 3
    assert lines[-1].startswith(f"layer {layer.prefix} heard nothing from {proxy.url}/0 for {gap.seconds:.2f} s (")


class Telephone:
    """An object that can be called; as a coroutine function is one, or not."""

    def __init__(self) -> None:
        self.calls: list[Layer] = []

    def __call__(self, layer: Layer) -> None:
        self.calls.append(layer)
        raise RuntimeError("the line is dead")

    async def later(self, layer: Layer) -> None:
        await asyncio.sleep(0)
        self.calls.append(layer)
        raise RuntimeError("the line is dead, too")


async def test_a_callback_that_fails_is_logged_and_nothing_else(
    make_layer: MakeLayer, proxy: Proxy, caplog: Any
) -> None:
    phone = Telephone()
    layer = make_layer(hosts=[proxy.url], on_disconnect=phone, on_reconnect=phone.later)
    channel = await layer.new_channel()
    proxy.cut()
    await until(lambda: phone.calls == [layer, layer])
    await until(lambda: sum("of layer" in line and "failed" in line for line in caplog.messages) == 2)
    assert "the line is dead, too" in caplog.text
    await layer.send(channel, "goes on")
    assert await layer.receive(channel) == "goes on"


async def test_no_gap_is_reported_when_there_was_none(make_layer: MakeLayer, proxy: Proxy) -> None:
    layer = make_layer(hosts=[proxy.url], send_timeout=EVER)
    proxy.close()
    first = asyncio.create_task(layer.new_channel())
    await until(lambda: proxy.accepted >= 3)
    proxy.forward()
    channel = await first
    await layer.close()
    channel = await layer.new_channel()
    await layer.send(channel, "x")
    assert await layer.receive(channel) == "x"
    assert layer.last_gap is None
    assert layer.statistics().reconnections == 0


async def test_a_subscription_that_is_killed_comes_back(make_layer: MakeLayer, admin: Redis) -> None:
    layer = make_layer()
    channel = await layer.new_channel()
    for outage in range(1, 4):
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        assert admin.client_kill_filter(_type="pubsub") == 1
        await until(lambda: layer.last_gap is not None and layer.statistics().reconnections >= outage)  # noqa: B023
        await layer.send(channel, outage)
        assert await waiting == outage


async def test_nothing_happens_to_who_is_idle_for_long(make_layer: MakeLayer) -> None:
    """Longer than redis-py's sockets wait for an answer: 5 s."""
    layer = make_layer()
    channel = await layer.new_channel()
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(6)
    await layer.send(channel, "still there")
    assert await waiting == "still there"
    assert layer.statistics().disconnections == 0
    assert layer.last_gap is None


# Secrets and refusals


def everything_said(error: BaseException, caplog: Any) -> str:
    """Whatever might end in somebody's log."""
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    texts = [text for link in chain if link for text in (repr(link), str(link), *traceback.format_exception(link))]
    records = [f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records]
    return "\n".join([*texts, *records, caplog.text])


@pytest.mark.parametrize("form", ["url", "dict", "address", "keyword"])
@pytest.mark.parametrize("trouble", ["wrong password", "nobody there", "cut"])
async def test_a_password_is_never_said(own_server: ServerProcess, form: str, trouble: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    with Redis(port=own_server.port) as admin:
        password = "another" if trouble == "wrong password" else CANARY
        admin.acl_setuser("someone", enabled=True, passwords=["+" + password], channels=["*"], commands=["+@all"])
    if trouble == "nobody there":
        own_server.kill()
    with Proxy(own_server.port) as proxy:
        user = {"username": "someone", "password": CANARY}
        hosts: dict[str, dict[str, Any]] = {
            "url": {"hosts": [proxy.url.replace("//", f"//someone:{quote(CANARY, safe='')}@")]},
            "dict": {"hosts": [{"host": "127.0.0.1", "port": proxy.port, **user}]},
            "address": {"hosts": [{"address": proxy.url, **user}]},
            "keyword": {"hosts": [proxy.url], "connection_kwargs": user},
        }
        async with Layer(**hosts[form], send_timeout=1) as layer:
            layer._wiring = replace(layer._wiring, patience=replace(QUIET, send=1))
            if trouble == "cut":
                await layer.new_channel()
                await layer.send("x", 1)
                proxy.drop_reply()
            with pytest.raises((ServerRefused, ServerUnreachable, OutcomeUnknown)) as caught:
                await (layer.send("x", 2) if trouble == "cut" else layer.new_channel())
            here = layer._here()
            seen = [layer, here, here.servers, layer._topology, layer._wiring]
            said = everything_said(caught.value, caplog) + "".join(f"{thing!r} {thing}" for thing in seen)
    for piece in (CANARY, quote(CANARY, safe=""), "canary"):
        assert piece not in said
    assert f"redis://127.0.0.1:{proxy.port}/0" in said


async def test_a_wrong_password_is_said_fast_and_clearly(redis_url: str) -> None:
    async with Layer([redis_url.replace("//", "//someone:canary@")], send_timeout=EVER) as layer:
        for call in (layer.new_channel(), layer.send("x", {}), layer.receive("x"), layer.group_add("room", "x")):
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(ServerRefused, match=f"{redis_url}/0 refused: WRONGPASS"):
                    await call


@both_loops
async def test_an_acl_that_forbids_a_name_forbids_that_name_alone(own_server: ServerProcess) -> None:
    addresses = Addresses("asgi")
    allowed = [addresses.inbox("*"), addresses.shared("open"), addresses.group("open")]
    with Redis(port=own_server.port) as admin:
        names = [address.decode() for address in allowed]
        admin.acl_setuser("app", enabled=True, passwords=["+secret"], channels=names, commands=["+@all"])
    async with Layer([own_server.url.replace("//", "//app:secret@")]) as layer:
        channel = await layer.new_channel()
        results = await asyncio.gather(
            layer.group_add("open", channel),
            layer.group_add("closed", channel),
            layer.group_send("closed", "x"),
            layer.send("closed", "x"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), ServerRefused, ServerRefused, ServerRefused]
        with pytest.raises(ServerRefused, match="NOPERM"):
            await layer.receive("closed")
        plain = await receiving(layer, "open")
        await layer.send("open", "plain")
        await layer.group_send("open", "group")
        assert await plain == "plain"
        assert await layer.receive(channel) == "group"
        assert (await layer.inspect())["groups"] == {"open": [channel]}
        assert layer.last_gap is None
