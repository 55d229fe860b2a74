"""Bad input gets a clear error at the call that made it, before anything is stored."""

from collections.abc import Iterator
from typing import Any

import pytest

from fast_channels.exceptions import InvalidNameError, MessageTooLarge
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    is_silent,
    message,
    next_messages,
)

__all__ = ["BAD_CHANNELS", "BAD_GROUPS", "InputContract"]

BAD_ANYWHERE: list[Any] = [
    "",
    " ",
    "room\n",
    "\nroom",
    "ro om",
    "room\0",
    "room٣",
    "räum",
    "room/1",
    "asgi|g|room",
    "room*",
    "room{1}",
    "a" * 100,
    None,
    5,
    b"room",
    {"room"},
    object(),
]

BAD_CHANNELS: list[Any] = [*BAD_ANYWHERE, "!room", "a!b!c", "x!é", "x!y\n", "a" * 99 + "!"]
BAD_GROUPS: list[Any] = [*BAD_ANYWHERE, "room!", "a!b"]


class InputContract(ContractTests):
    """Names outside the grammar and messages that are too large are refused, and leave no trace."""

    @contract_test
    async def test_bad_channel_names_are_refused(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for name in BAD_CHANNELS:
            for attempt in _with_channel(layer, name):
                await _refuses_name(attempt, name)

    @contract_test
    async def test_bad_group_names_are_refused(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for name in BAD_GROUPS:
            for attempt in _with_group(layer, name, channel):
                await _refuses_name(attempt, name)
        assert await is_silent(layer, channel)

    @contract_test
    async def test_names_up_to_the_limit_are_fine(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for group in ("a", "A-b_c.9", "-", ".", "g" * 99):
            await layer.group_add(group, channel)
            await layer.group_send(group, message(1))
            assert await next_messages(layer, channel, 1) == [1]
            await layer.group_discard(group, channel)
        assert layer.require_valid_channel_name("c" * 99)

    @contract_test
    async def test_a_bad_prefix_makes_no_channel(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        for prefix in ("x y", "é", "a!b", "x\n", "p" * 99):
            await _refuses_name(layer.new_channel(prefix), prefix)

    @contract_test
    async def test_a_message_that_is_too_large_is_refused(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        layer.max_message_size = 1000
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        large = message(1, data="x" * 2000)
        for sending in (layer.send(channel, large), layer.group_send("room", large)):
            with pytest.raises(MessageTooLarge) as caught:
                await sending
            assert (caught.value.limit, caught.value.size > 2000) == (1000, True)
        await layer.send(channel, message(2, data="x" * 500))
        assert await next_messages(layer, channel, 1) == [2]


def _with_channel(layer: BaseChannelLayer, name: Any) -> Iterator[Any]:
    yield layer.send(name, message())
    yield layer.receive(name)
    yield layer.release_channel(name)
    yield layer.group_add("room", name)
    yield layer.group_discard("room", name)


def _with_group(layer: BaseChannelLayer, name: Any, channel: str) -> Iterator[Any]:
    yield layer.group_add(name, channel)
    yield layer.group_discard(name, channel)
    yield layer.group_send(name, message())


async def _refuses_name(attempt: Any, name: Any) -> None:
    try:
        await attempt
    except InvalidNameError as error:
        refusal = error
    else:
        pytest.fail(f"{attempt.__qualname__} took the name {name!r}")
    assert isinstance(refusal, TypeError)
    assert "ASCII" in str(refusal)
