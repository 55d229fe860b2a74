"""What a message may hold, and how it comes out."""

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fast_channels.exceptions import InvalidMessageError
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    message,
    next_message,
    next_messages,
)

__all__ = ["REFUSED_VALUES", "VALUES", "ValuesContract"]


@dataclass
class Point:
    """A dataclass, as applications send it."""

    x: int
    names: tuple[str, ...]


class Colour(enum.Enum):
    """An enum, as applications send it."""

    RED = "red"


class Markup(str):
    """Text that is marked as safe, as template engines make it."""

    __slots__ = ()


class Ratio(float):
    """A number of a library for numbers."""


UTC = dt.UTC
SUMMER = dt.timezone(dt.timedelta(hours=2))

VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (2**64 - 1, 2**64 - 1),
    (-(2**63), -(2**63)),
    (1.5, 1.5),
    (float("inf"), float("inf")),
    ("", ""),
    ("naïve 😀\n\0", "naïve 😀\n\0"),
    (b"\0\xff", b"\0\xff"),
    (Markup("<b>"), "<b>"),
    (Ratio(0.5), 0.5),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    ([], []),
    ((1, (2, 3)), [1, [2, 3]]),
    ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": None}]}}),
    ({1: "one", "1": "uno"}, {1: "one", "1": "uno"}),
    (frozenset({7}), [7]),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (decimal.Decimal("1.50"), "1.50"),
    (dt.datetime(2024, 1, 2, 3, 4, 5, 6, UTC), dt.datetime(2024, 1, 2, 3, 4, 5, 6, UTC)),
    (dt.datetime(2024, 7, 2, 3, 4, 5, 0, SUMMER), dt.datetime(2024, 7, 2, 1, 4, 5, 0, UTC)),
    (dt.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),  # noqa: DTZ001
    (dt.date(2024, 1, 2), "2024-01-02"),
    (dt.time(1, 2, 3), "01:02:03"),
    (dt.timedelta(seconds=90), "PT90S"),
    (Point(1, ("a",)), {"x": 1, "names": ["a"]}),
    (Colour.RED, "red"),
]
"""Values, and what they come back as, in a message of the default format."""


def _circular() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


REFUSED_VALUES: list[Any] = [object(), "\ud800", _circular(), 2**64, -(2**63) - 1, 1j, len, Point, iter([])]
"""Values that cannot be encoded."""

NO_MESSAGES: list[Any] = [None, "text", b"bytes", 5, [1], (("type", "x"),)]


class ValuesContract(ContractTests):
    """A message comes out as msgpack carries it; what cannot be encoded is refused at the call."""

    @contract_test
    async def test_values_come_out_as_msgpack_carries_them(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()
        for sent, expected in VALUES:
            await layer.send(channel, message(value=sent))
            got = (await next_message(layer, channel))["value"]
            assert got == expected, f"{sent!r} came out as {got!r}"
            assert type(got) is type(expected), f"{sent!r} came out as {got!r}"

    @contract_test
    async def test_values_come_out_of_a_group_the_same_way(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", message(values=[sent for sent, _ in VALUES]))
        assert (await next_message(layer, channel))["values"] == [expected for _, expected in VALUES]

    @contract_test
    async def test_a_message_needs_no_type(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.send(channel, {})
        assert await next_message(layer, channel) == {}

    @contract_test
    async def test_a_large_message_arrives(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for size in (1, 2**16, 2**20):
            await layer.send(channel, message(1, data=b"x" * size))
            assert await next_message(layer, channel) == message(1, data=b"x" * size)

    @contract_test
    async def test_what_cannot_be_encoded_is_refused_at_the_call(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for value in REFUSED_VALUES:
            for bad in (message(value=value), message(value=[{"deep": value}])):
                await _is_refused(layer, channel, bad)
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_a_message_is_a_dict(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for value in NO_MESSAGES:
            if self.carries_any_value:
                await layer.send(channel, value)
                assert await next_message(layer, channel) == _as_it_comes_out(value)
            else:
                await _is_refused(layer, channel, value)
        await layer.send(channel, message(1))
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_what_happens_to_a_message_after_its_sending_changes_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        sent = message(1, tags=["a"])
        await layer.send(channel, sent)
        sent["tags"].append("b")
        sent["number"] = 2
        got = await next_message(layer, channel)
        assert got == message(1, tags=["a"])
        got["tags"].clear()
        assert sent["tags"] == ["a", "b"]


async def _is_refused(layer: BaseChannelLayer, channel: str, bad: Any) -> None:
    for sending in _sendings(layer, channel, bad):
        try:
            await sending
        except InvalidMessageError as error:
            refusal = error
        else:
            pytest.fail(f"was not refused: {bad!r:.100}")
        assert isinstance(refusal, TypeError)


def _sendings(layer: BaseChannelLayer, channel: str, value: Any) -> Iterator[Any]:
    yield layer.send(channel, value)
    yield layer.group_send("room", value)


def _as_it_comes_out(value: Any) -> Any:
    return [_as_it_comes_out(one) for one in value] if isinstance(value, list | tuple) else value
