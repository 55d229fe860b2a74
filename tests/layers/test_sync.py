"""`layer.sync` without a server, and what all layers share of it."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

from fast_channels.exceptions import ForeignChannelError
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.sync import DirectSyncLayer, SyncLayer
from tests.support.sync_contract import MakeLayer, SyncContract, interrupted_receive
from tests.support.waiting import PATIENCE


def make_in_memory(**options: Any) -> BaseChannelLayer:
    return InMemoryChannelLayer(**options)


class TestInMemory(SyncContract):
    @pytest.fixture
    def make_layer(self) -> MakeLayer:
        return make_in_memory


class SomebodysLayer(BaseChannelLayer):
    """A layer that knows nothing of `sync`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._inner = InMemoryChannelLayer(**options)

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        self._inner.max_message_size = self.max_message_size
        await self._inner.send(channel, message, expiry=expiry)

    async def send_many(self, messages: Iterable[tuple[str, dict[str, Any]]], *, expiry: float | None = None) -> None:
        await self._inner.send_many(messages, expiry=expiry)

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._inner.receive(channel)

    async def new_channel(self, prefix: str = "specific") -> str:
        return await self._inner.new_channel(prefix)

    async def release_channel(self, channel: str) -> None:
        await self._inner.release_channel(channel)

    async def group_add(self, group: str, channel: str) -> None:
        await self._inner.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._inner.group_discard(group, channel)

    async def group_send(
        self,
        group: str | Sequence[str],
        message: dict[str, Any],
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        self._inner.max_message_size = self.max_message_size
        await self._inner.group_send(group, message, exclude=exclude, expiry=expiry)

    async def close(self) -> None:
        await self._inner.close()

    def statistics(self) -> Any:
        return self._inner.statistics()


def make_somebodys(**options: Any) -> BaseChannelLayer:
    return SomebodysLayer(**options)


class TestSomebodysOwn(SyncContract):
    """Any layer has it, over a loop in the background."""

    @pytest.fixture
    def make_layer(self) -> MakeLayer:
        return make_somebodys


# Kinds


def test_in_memory_nothing_but_receiving_takes_a_thread() -> None:
    layer = InMemoryChannelLayer()
    before = threading.active_count()
    channel = layer.sync.new_channel()
    layer.sync.group_add("room", channel)
    layer.sync.group_send("room", {"n": 1})
    layer.sync.send(channel, {"n": 2})
    assert isinstance(layer.sync, DirectSyncLayer)
    assert threading.active_count() == before


def test_a_channel_of_another_layer_is_foreign() -> None:
    with InMemoryChannelLayer().sync as sync, pytest.raises(ForeignChannelError):
        sync.receive("specific.other!1", timeout=PATIENCE)


def test_a_layer_that_waits_for_something_is_not_cut_short() -> None:
    class Waiting(InMemoryChannelLayer):
        async def release_channel(self, channel: str) -> None:
            await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waits for something"):
        DirectSyncLayer(Waiting()).release_channel("jobs")
    with Waiting().sync as sync:
        sync.release_channel("jobs")
    assert type(sync) is SyncLayer


def test_it_says_whose_it_is() -> None:
    assert repr(InMemoryChannelLayer().sync) == "<DirectSyncLayer of <InMemoryChannelLayer: 0 channels, 0 groups>>"


# Life


def the_thread() -> "threading.Thread | None":
    return next((thread for thread in threading.enumerate() if thread.name == "fast-channels sync"), None)


def wait_until_there_is_no_thread() -> None:
    deadline = time.monotonic() + PATIENCE
    while the_thread() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_closing_ends_the_thread() -> None:
    sync = SyncLayer(InMemoryChannelLayer())
    with sync:
        sync.send("jobs", {"n": 1})
        assert the_thread() is not None
    assert the_thread() is None
    sync.close()


def test_a_layer_that_nobody_holds_any_more_takes_its_thread_along() -> None:
    layer = InMemoryChannelLayer()
    layer.sync.send("jobs", {"n": 1})
    layer.sync.receive("jobs")
    assert the_thread() is not None
    del layer
    gc.collect()
    wait_until_there_is_no_thread()


def test_ctrl_c_ends_a_wait_and_loses_nothing() -> None:
    layer = InMemoryChannelLayer()
    channel = layer.sync.new_channel()
    with layer.sync:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            layer.sync.receive(channel)
        layer.sync.send(channel, {"n": 1})
        assert layer.sync.receive(channel, timeout=PATIENCE) == {"n": 1}


def test_what_nobody_got_because_of_ctrl_c_comes_before_what_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = InMemoryChannelLayer()
    layer.sync.send_many(("jobs", {"n": number}) for number in range(3))
    interrupted_receive(layer, "jobs", monkeypatch)
    with layer.sync:
        assert [layer.sync.receive("jobs", timeout=PATIENCE)["n"] for _ in range(3)] == [0, 1, 2]


# Processes of their own


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a user does who wants to see every warning."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_a_program_ends_by_itself_and_without_a_word() -> None:
    done = run("""
        import threading
        from fast_channels.layers import InMemoryChannelLayer
        layer = InMemoryChannelLayer()
        threading.Thread(target=layer.sync.receive, args=["jobs"], daemon=True).start()
        layer.sync.send("others", {"n": 1})
        print(layer.sync.receive("others"))
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("{'n': 1}\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_starts_afresh() -> None:
    done = run("""
        import os, threading
        from fast_channels.exceptions import ForeignChannelError
        from fast_channels.layers import InMemoryChannelLayer
        layer = InMemoryChannelLayer()
        layer.sync.send("jobs", {"n": 1})
        print(layer.sync.receive("jobs"), flush=True)
        channel = layer.sync.new_channel()
        child = os.fork()
        if not child:
            assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
            try:
                layer.sync.receive(channel, timeout=1)
            except ForeignChannelError:
                layer.sync.send("jobs", {"n": 2})
                print(layer.sync.receive("jobs"), flush=True)
                layer.sync.close()
                os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        layer.sync.send(channel, {"n": 3})
        print(layer.sync.receive(channel))
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("{'n': 1}\n{'n': 2}\n{'n': 3}\n", "", 0)
