"""What `layer.sync` promises, for every layer and every topology."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fast_channels.exceptions import (
    ChannelFull,
    ChannelLayerClosed,
    ChannelReleased,
    InvalidMessageError,
    InvalidNameError,
    MessageTooLarge,
    NotAllSent,
)
from fast_channels.layers import BaseChannelLayer, background
from tests.support.waiting import PATIENCE

__all__ = ["MakeLayer", "SyncContract", "ctrl_c", "in_thread", "interrupted_receive"]

MakeLayer = Callable[..., BaseChannelLayer]

THREADS = 8


def in_thread(call: Callable[..., Any], *args: Any) -> "Future[Any]":
    """Begin a call in a thread of its own."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*args))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


@contextmanager
def ctrl_c() -> Iterator[Callable[[threading.Event], None]]:
    """Gives a function for other threads, which interrupts the main thread once, and returns when an event is set.

    It sends more than one signal: one that comes right before a thread begins to wait for a lock is noticed after that.
    """
    interruptions: list[int] = []

    def interrupt_once(number: int, _: object) -> None:
        interruptions.append(number)
        if len(interruptions) == 1:
            raise KeyboardInterrupt

    def press(until: threading.Event) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until.wait(0.02):
            assert time.monotonic() < deadline
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupt_once)
    try:
        yield press
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted_receive(layer: BaseChannelLayer, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receive in the main thread; Ctrl-C comes when the message is there, and before it is handed over."""
    is_given_up = threading.Event()
    receive, give_up = layer.receive, background._Call.give_up

    async def and_interrupt(channel: str) -> dict[str, Any]:
        message = await receive(channel)
        press(is_given_up)
        return message

    def tell(call: Any) -> None:
        give_up(call)
        is_given_up.set()

    with monkeypatch.context() as patch, ctrl_c() as press:
        patch.setattr(layer, "receive", and_interrupt)
        patch.setattr(background._Call, "give_up", tell)
        with pytest.raises(KeyboardInterrupt):
            layer.sync.receive(channel, timeout=PATIENCE)


class SyncContract:
    """Needs the fixture `make_layer`: a callable that makes a layer from options."""

    keeps_for_nobody = True
    """Whether what is sent to a plain channel waits until somebody receives there."""
    send_raises_channel_full = True
    expires = True

    @pytest.fixture
    def layer(self, make_layer: MakeLayer) -> Iterator[BaseChannelLayer]:
        layer = make_layer(capacity=2000)
        with layer.sync:
            yield layer

    # Sending and receiving

    def test_a_message_arrives(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        layer.sync.send(channel, {"type": "a", "n": 1})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"type": "a", "n": 1}

    def test_it_is_always_the_same_object(self, layer: BaseChannelLayer) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            assert len({id(sync) for sync in pool.map(lambda _: layer.sync, range(THREADS))}) == 1

    def test_messages_arrive_in_their_order(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        for number in range(300):
            layer.sync.send(channel, {"n": number})
        layer.sync.send_many((channel, {"n": number}) for number in range(300, 900))
        assert self.numbers(layer, channel, 900) == list(range(900))

    def test_what_waits_on_a_plain_channel_is_received(self, layer: BaseChannelLayer) -> None:
        if not self.keeps_for_nobody:
            pytest.skip("this layer keeps nothing for nobody")
        layer.sync.send("jobs", {"n": 1})
        assert layer.sync.receive("jobs", timeout=PATIENCE) == {"n": 1}

    def test_a_receiver_that_waits_is_woken(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        received = in_thread(layer.sync.receive, channel, PATIENCE)
        layer.sync.send(channel, {"n": 1})
        assert received.result(PATIENCE) == {"n": 1}

    def test_a_wait_that_is_over_says_so_and_loses_nothing(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        with pytest.raises(TimeoutError, match=rf"^no message on channel '{channel}' within 0\.01 s$"):
            layer.sync.receive(channel, timeout=0.01)
        layer.sync.send(channel, {"n": 1})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 1}

    def test_who_only_looks_gets_what_is_there(self, layer: BaseChannelLayer) -> None:
        specific = layer.sync.new_channel()
        for channel in [specific, "jobs"] if self.keeps_for_nobody else [specific]:
            layer.sync.send(channel, {"n": 1})
            assert self.looked_up(layer, channel) == {"n": 1}

    @staticmethod
    def looked_up(layer: BaseChannelLayer, channel: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                return layer.sync.receive(channel, timeout=0)
        raise AssertionError("nothing was ever there")

    def test_waits_that_end_while_messages_arrive_lose_none(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        sent = in_thread(self.send_numbers, layer, channel, 200)
        received: list[int] = []
        while len(received) < 200:
            try:
                received.append(layer.sync.receive(channel, timeout=0.0003)["n"])
            except TimeoutError:
                continue
        sent.result(PATIENCE)
        assert received == list(range(200))

    def test_what_nobody_got_because_of_ctrl_c_is_received_next(
        self, layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for channel in (layer.sync.new_channel(), "jobs"):
            with pytest.raises(TimeoutError):
                layer.sync.receive(channel, timeout=0.01)  # on pub/sub it is heard from now on
            layer.sync.send(channel, {"n": 1})
            interrupted_receive(layer, channel, monkeypatch)
            assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 1}

    def test_a_loop_hears_what_a_thread_sends(self, layer: BaseChannelLayer) -> None:
        async def receive() -> Any:
            async with asyncio.timeout(PATIENCE):
                channel = await layer.new_channel()
                await asyncio.to_thread(layer.sync.send, channel, {"n": 1})
                first = await layer.receive(channel)
                await layer.group_add("room", channel)
                await asyncio.to_thread(layer.sync.group_send, "room", {"n": 2})
                second = await layer.receive(channel)
                await layer.close()
                return first, second

        assert asyncio.run(receive()) == ({"n": 1}, {"n": 2})

    # Groups

    def test_a_group_is_heard_by_its_members(self, layer: BaseChannelLayer) -> None:
        members = [layer.sync.new_channel() for _ in range(3)]
        stranger = layer.sync.new_channel()
        for member in members:
            layer.sync.group_add("room", member)
        layer.sync.group_send("room", {"n": 1})
        assert [layer.sync.receive(member, timeout=PATIENCE) for member in members] == [{"n": 1}] * 3
        self.nothing_waits(layer, stranger)

    def test_who_left_a_group_hears_it_no_more(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        layer.sync.group_add("room", channel)
        layer.sync.group_discard("room", channel)
        layer.sync.group_send("room", {"n": 1})
        self.nothing_waits(layer, channel)

    def test_several_groups_and_who_is_excluded(self, layer: BaseChannelLayer) -> None:
        both, left_out = layer.sync.new_channel(), layer.sync.new_channel()
        for group in ("room", "hall"):
            layer.sync.group_add(group, both)
            layer.sync.group_add(group, left_out)
        layer.sync.group_send(["room", "hall"], {"n": 1}, exclude=[left_out])
        assert layer.sync.receive(both, timeout=PATIENCE) == {"n": 1}
        self.nothing_waits(layer, both)
        self.nothing_waits(layer, left_out)

    def test_a_group_without_members_is_no_error(self, layer: BaseChannelLayer) -> None:
        layer.sync.group_send("nobody", {"n": 1})

    # What is refused

    def test_bad_input_is_refused_at_the_call(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        layer.max_message_size = 1000
        with pytest.raises(InvalidNameError):
            layer.sync.send("not a name", {"n": 1})
        with pytest.raises(InvalidNameError):
            layer.sync.group_send("not a group", {"n": 1})
        with pytest.raises(InvalidNameError):
            layer.sync.receive("not a name")
        with pytest.raises(InvalidMessageError):
            layer.sync.send(channel, {"n": object()})
        with pytest.raises(MessageTooLarge):
            layer.sync.send(channel, {"n": "x" * 2000})
        with pytest.raises(MessageTooLarge):
            layer.sync.group_send("room", {"n": "x" * 2000})
        with pytest.raises(InvalidMessageError):
            layer.sync.send_many([(channel, {"n": 1}), (channel, {"n": object()})])
        with pytest.raises(ValueError, match="expiry"):
            layer.sync.send(channel, {"n": 1}, expiry=-1)
        self.nothing_waits(layer, channel)

    def test_a_full_channel_is_told(self, make_layer: MakeLayer) -> None:
        if not self.send_raises_channel_full:
            pytest.skip("this layer leaves it to the receiver")
        layer = make_layer(capacity=2)
        with layer.sync as sync:
            channel = sync.new_channel()
            sync.send(channel, {"n": 0})
            with pytest.raises(NotAllSent) as failed:
                sync.send_many([(channel, {"n": 1}), (channel, {"n": 2}), (channel, {"n": 3})])
            with pytest.raises(ChannelFull) as full:
                sync.send(channel, {"n": 4})
            assert [failure.index for failure in failed.value.failures] == [1, 2]
            assert (full.value.channel, full.value.capacity) == (channel, 2)
            assert self.numbers(layer, channel, 2) == [0, 1]

    def test_what_has_expired_is_not_handed_over(self, layer: BaseChannelLayer) -> None:
        if not self.expires:
            pytest.skip("nothing expires on this layer")
        channel = layer.sync.new_channel()
        layer.sync.send(channel, {"n": 1}, expiry=0.01)
        threading.Event().wait(0.05)
        layer.sync.send(channel, {"n": 2})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 2}

    def test_inside_a_loop_the_call_to_await_is_named(self, layer: BaseChannelLayer) -> None:
        async def call(name: str, *args: Any) -> None:
            with pytest.raises(RuntimeError, match=rf"layer\.sync\.{name}\(\) blocks.*await layer\.{name}\("):
                getattr(layer.sync, name)(*args)

        message = {"n": 1}
        for name, *args in (
            ("send", "jobs", message),
            ("send_many", []),
            ("group_send", "room", message),
            ("receive", "jobs"),
            ("new_channel",),
            ("release_channel", "jobs"),
            ("group_add", "room", "jobs"),
            ("group_discard", "room", "jobs"),
            ("close",),
        ):
            asyncio.run(call(str(name), *args))

    # Threads

    def test_many_threads_send_each_message_once_and_in_order(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()

        def send(thread: int) -> None:
            for number in range(100):
                layer.sync.send(channel, {"from": thread, "n": number})

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(send, range(THREADS)))
        messages = [layer.sync.receive(channel, timeout=PATIENCE) for _ in range(100 * THREADS)]
        for thread in range(THREADS):
            assert [message["n"] for message in messages if message["from"] == thread] == list(range(100))
        assert layer.statistics().sent == 100 * THREADS
        self.nothing_waits(layer, channel)

    def test_several_receivers_share_what_comes(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        receiving = [in_thread(layer.sync.receive, channel, PATIENCE) for _ in range(THREADS)]
        self.send_numbers(layer, channel, THREADS)
        assert Counter(each.result(PATIENCE)["n"] for each in receiving) == Counter(range(THREADS))

    def test_it_counts_what_it_sends(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        layer.sync.group_add("room", channel)

        def send(_: int) -> None:
            layer.sync.group_send("room", {"n": 1})
            layer.sync.send_many([(channel, {"n": 1})] * 3)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(send, range(40)))
        statistics = layer.statistics()
        assert (statistics.group_sent, statistics.sent) == (40, 120)

    # Life

    def test_a_channel_that_is_released_is_gone(self, layer: BaseChannelLayer) -> None:
        channel = layer.sync.new_channel()
        receiving = in_thread(layer.sync.receive, channel)
        with pytest.raises(TimeoutError):
            receiving.result(0.05)
        layer.sync.release_channel(channel)
        with pytest.raises(ChannelReleased):
            receiving.result(PATIENCE)
        layer.sync.release_channel(channel)

    def test_it_opens_again_after_it_was_closed(self, layer: BaseChannelLayer) -> None:
        for _ in range(3):
            with layer.sync as sync:
                channel = sync.new_channel()
                sync.send(channel, {"n": 1})
                assert sync.receive(channel, timeout=PATIENCE) == {"n": 1}
            sync.close()

    def test_it_closes_with_its_layer(self, layer: BaseChannelLayer) -> None:
        receiving = in_thread(layer.sync.receive, layer.sync.new_channel())
        with pytest.raises(TimeoutError):
            receiving.result(0.05)
        asyncio.run(layer.close())
        with pytest.raises(ChannelLayerClosed):
            receiving.result(PATIENCE)
        channel = layer.sync.new_channel()
        layer.sync.send(channel, {"n": 1})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 1}

    # Helpers

    def send_numbers(self, layer: BaseChannelLayer, channel: str, count: int) -> None:
        for number in range(count):
            layer.sync.send(channel, {"n": number})

    def numbers(self, layer: BaseChannelLayer, channel: str, count: int) -> list[int]:
        return [layer.sync.receive(channel, timeout=PATIENCE)["n"] for _ in range(count)]

    def nothing_waits(self, layer: BaseChannelLayer, channel: str) -> None:
        """What is sent now comes first: nothing came before."""
        layer.sync.send(channel, {"type": "last"})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"type": "last"}
