"""A run that loses or doubles a message is found out, whatever it measures."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks import program
from benchmarks.limits import group as bare_group
from benchmarks.limits import one_channel as bare_one_channel
from benchmarks.program import Load
from benchmarks.runner import failure
from benchmarks.workloads import connecting, consumer, dispatch, group, latency, one_channel
from fast_channels.layers import InMemoryChannelLayer, unregister_channel_layer

PARAMETERS = {
    "layer": "memory",
    "senders": 3,
    "channels": 5,
    "window": 50,
    "seconds": 0.05,
    "pause": 0,
    "connections": 7,
    "at_once": 3,
    "messages": 100,
}


class CarelessLayer(InMemoryChannelLayer):
    """Hands the tenth message over as often as it is told, which is not once."""

    def __init__(self, copies: int) -> None:
        super().__init__(capacity=1000)
        self._copies = copies
        self._count = 0

    def _how_often(self) -> int:
        self._count += 1
        return self._copies if self._count == 10 else 1

    async def send(self, channel: str, message: dict[str, Any], **options: Any) -> None:
        for _ in range(self._how_often()):
            await super().send(channel, message, **options)

    async def group_send(self, group: str | Sequence[str], message: dict[str, Any], **options: Any) -> None:
        for _ in range(self._how_often()):
            await super().group_send(group, message, **options)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a layer that hands the tenth message over so many times in the place of the one under test."""

    def use(copies: int) -> None:
        for module in (one_channel, group, latency):
            monkeypatch.setattr(module, "make_layer", lambda parameters: CarelessLayer(copies))

    monkeypatch.setattr(program, "STALL_SECONDS", 0.05)
    return use


@pytest.mark.parametrize("workload", [one_channel, group, latency, bare_one_channel, bare_group])
async def test_every_message_arrives_once(workload: Any) -> None:
    result = await workload.main(PARAMETERS)
    assert result["count"] > 0
    assert failure(result) is None


@pytest.mark.parametrize("workload", [one_channel, group, latency])
@pytest.mark.parametrize(("copies", "fault"), [(0, "lost"), (2, "duplicated")])
async def test_a_layer_that_errs_is_found_out(
    workload: Any, copies: int, fault: str, careless: Callable[[int], None]
) -> None:
    careless(copies)
    result = await workload.main(PARAMETERS)
    receivers = PARAMETERS["channels"] if workload is group else 1
    assert result[fault] == receivers
    assert fault in (failure(result) or "")


@pytest.mark.parametrize("workload", [connecting, dispatch])
async def test_consumers_get_everything_once(workload: Any) -> None:
    try:
        assert failure(await workload.main(PARAMETERS)) is None
    finally:
        unregister_channel_layer(consumer.ALIAS)


def test_an_arrival_at_one_receiver_does_not_stand_for_another() -> None:
    load = Load(window=10, receivers=2)
    load.next_number()
    load.arrive(0, receiver=0)
    load.arrive(0, receiver=0)
    assert (load.lost(), load.duplicated()) == (1, 1)


def test_numbers_beyond_the_first_block_are_counted() -> None:
    load = Load(window=1)
    for _ in range(10_000):
        load.next_number()
    load.arrive(9_999)
    assert (load.lost(), load.duplicated()) == (9_999, 0)


async def test_the_window_bounds_what_is_under_way() -> None:
    load = Load(window=2)
    load.next_number()
    assert not load.full
    load.next_number()
    assert load.full
