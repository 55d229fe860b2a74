"""The rules that all layers share: what they are made with, names, capacities."""

import re
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels import names
from fast_channels.exceptions import ChannelFull, InvalidMessageError, InvalidNameError, MessageTooLarge, NotAllSent
from fast_channels.layers import BaseChannelLayer, LayerStatistics
from fast_channels.layers.base import require_dict

# What a layer is made with


def test_a_layer_has_the_defaults_that_its_users_know() -> None:
    layer = BaseChannelLayer()
    assert (layer.expiry, layer.capacity, layer.channel_capacity) == (60, 100, [])
    assert (layer.MAX_NAME_LENGTH, layer.extensions) == (100, ["groups", "flush"])
    assert layer.invalid_name_error == names.invalid_name_error


def test_a_layer_takes_its_arguments_by_position() -> None:
    layer = BaseChannelLayer(5, 6, {"a": 7})
    assert (layer.expiry, layer.capacity, layer.get_capacity("a")) == (5, 6, 7)


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        BaseChannelLayer(nonsense=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("expiry", [0, -1, float("nan"), 0.0])
def test_expiry_is_a_time(expiry: float) -> None:
    with pytest.raises(ValueError, match="expiry must be more than 0 seconds"):
        BaseChannelLayer(expiry=expiry)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "100", None, True])
def test_a_capacity_is_a_whole_number(capacity: Any) -> None:
    with pytest.raises(ValueError, match="a capacity is a whole number of messages, at least 1"):
        BaseChannelLayer(capacity=capacity)
    with pytest.raises(ValueError, match="a capacity is a whole number of messages, at least 1"):
        BaseChannelLayer(channel_capacity={"a": capacity})


# Capacities

PATTERNS: dict[str | re.Pattern[str], int] = {
    "http.request": 1,
    "http.response!*": 2,
    re.compile(r"^websocket.send\!.+"): 3,
    "chat.?": 4,
    "chat.*": 5,
    "log[0-9]": 6,
    re.compile("mail"): 7,
}


@pytest.mark.parametrize(
    ("channel", "capacity"),
    [
        ("http.request", 1),
        ("http.request.more", 100),
        ("http.response!abc", 2),
        ("http.response", 100),
        ("websocket.send!abc", 3),
        ("websocket.send!", 100),
        ("chat.a", 4),
        ("chat.ab", 5),
        ("CHAT.a", 100),
        ("log7", 6),
        ("logs", 100),
        ("mail", 7),
        ("mailing", 7),
        ("a.mail", 100),
        ("other", 100),
    ],
)
def test_a_channel_has_the_capacity_of_the_first_pattern_that_matches(channel: str, capacity: int) -> None:
    assert BaseChannelLayer(channel_capacity=PATTERNS).get_capacity(channel) == capacity


def test_compiled_capacities_keep_their_order() -> None:
    compiled = BaseChannelLayer().compile_capacities(PATTERNS)
    assert [capacity for _, capacity in compiled] == [1, 2, 3, 4, 5, 6, 7]
    assert all(isinstance(pattern, re.Pattern) for pattern, _ in compiled)


# Names

name = st.from_regex(r"[a-zA-Z0-9\-_.]{1,40}(![a-zA-Z0-9\-_.]{0,40})?", fullmatch=True)


@given(name)
def test_a_channels_name_is_what_the_grammar_says(channel: str) -> None:
    layer = BaseChannelLayer()
    assert layer.require_valid_channel_name(channel) is True
    assert layer.non_local_name(channel) == names.non_local_name(channel)


@pytest.mark.parametrize("channel", ["room\n", "room٣", "x!é", "", None, 5, b"room", "a" * 100])
def test_an_invalid_channel_name_is_a_type_error(channel: Any) -> None:
    with pytest.raises(TypeError, match=r"^Channel name must be "):
        BaseChannelLayer().require_valid_channel_name(channel)


@pytest.mark.parametrize("group", ["room\n", "room٣", "a!b", "", None, 5, b"room", "a" * 100])
def test_an_invalid_group_name_is_a_type_error(group: Any) -> None:
    with pytest.raises(TypeError, match=r"^Group name must be "):
        BaseChannelLayer().require_valid_group_name(group)


def test_a_valid_group_name_is_true() -> None:
    assert BaseChannelLayer().require_valid_group_name("room") is True


@pytest.mark.parametrize("channel", ["jobs", "specific.abc!"])
def test_a_process_receives_on_plain_names_and_on_names_that_end_at_the_mark(channel: str) -> None:
    assert BaseChannelLayer().require_valid_channel_name(channel, receive=True) is True


def test_a_process_does_not_receive_on_a_name_that_goes_on_after_the_mark() -> None:
    with pytest.raises(InvalidNameError, match="must end at the !"):
        BaseChannelLayer().require_valid_channel_name("specific.abc!def", receive=True)


# Messages


@pytest.mark.parametrize("message", [None, "text", b"bytes", 5, ["list"], (("a", 1),)])
def test_a_message_is_a_dict(message: Any) -> None:
    with pytest.raises(InvalidMessageError, match=rf"^a message is a dict, not {type(message).__name__}$"):
        require_dict(message)


# What a layer has yet to do


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: layer.send("a", {}),
        lambda layer: layer.receive("a"),
        lambda layer: layer.new_channel(),
        lambda layer: layer.release_channel("a"),
        lambda layer: layer.group_add("g", "a"),
        lambda layer: layer.group_discard("g", "a"),
        lambda layer: layer.group_send("g", {}),
        lambda layer: layer.flush(),
    ],
)
async def test_every_coroutine_of_the_contract_is_to_be_written(call: Any) -> None:
    with pytest.raises(NotImplementedError):
        await call(BaseChannelLayer())


async def test_leaving_the_context_of_a_layer_closes_it() -> None:
    closed = []

    class Closing(BaseChannelLayer):
        async def close(self) -> None:
            closed.append(self)

    async with Closing() as layer:
        assert not closed
    assert closed == [layer]


async def test_an_error_in_the_context_of_a_layer_closes_it_and_goes_on() -> None:
    closed = []

    class Closing(BaseChannelLayer):
        async def close(self) -> None:
            closed.append(self)

    with pytest.raises(KeyError):
        async with Closing():
            raise KeyError
    assert closed


# Statistics


def test_statistics_begin_with_nothing_and_do_not_change() -> None:
    nothing = LayerStatistics()
    assert (nothing.sent, nothing.group_sent, nothing.received, nothing.dropped) == (0, 0, 0, {})
    assert (nothing.disconnections, nothing.reconnections) == (0, 0)
    with pytest.raises(AttributeError):
        nothing.sent = 1  # type: ignore[misc]


class OwnLayer(BaseChannelLayer):
    """As somebody wrote it before there was more than sending and receiving."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: deque[dict[str, Any]] = deque()

    async def send(self, channel: str, message: dict[str, Any]) -> None:  # type: ignore[override]
        if channel == "full":
            raise ChannelFull(channel=channel)
        self.messages.append(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return self.messages.popleft()


async def test_a_layer_of_ones_own_closes_counts_and_is_inspected() -> None:
    async with OwnLayer() as layer:
        assert layer.statistics() == LayerStatistics()
        assert await layer.inspect() == {"layer": "OwnLayer"}


async def test_a_layer_of_ones_own_gives_a_message_back_as_it_was() -> None:
    layer = OwnLayer()
    await layer.send("jobs", {"steps": [1]})
    with pytest.raises(ZeroDivisionError):
        async with layer.delivery("jobs") as message:
            message["steps"].clear()
            1 / 0  # noqa: B018
    assert list(layer.messages) == [{"steps": [1]}]


async def test_a_layer_of_ones_own_sends_many_messages_one_after_the_other() -> None:
    layer = OwnLayer()
    await layer.send_many(("jobs", {"n": number}) for number in range(5))
    assert list(layer.messages) == [{"n": number} for number in range(5)]


async def test_a_layer_of_ones_own_names_what_it_did_not_send() -> None:
    layer = OwnLayer()
    with pytest.raises(NotAllSent, match="1 of 3 messages were not sent: number 1 to full") as caught:
        await layer.send_many([("jobs", {"n": 0}), ("full", {"n": 1}), ("jobs", {"n": 2})])
    [failure] = caught.value.failures
    assert (failure.index, failure.channel, caught.value.sent) == (1, "full", 2)
    assert caught.value.__cause__ is failure.error
    assert list(layer.messages) == [{"n": 0}, {"n": 2}]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (("no channel", {}), InvalidNameError),
        (("jobs", ["no dict"]), InvalidMessageError),
        (("jobs", {"n": object()}), InvalidMessageError),
        (("jobs", {"n": "x" * 1000}), MessageTooLarge),
        (("jobs",), InvalidMessageError),
    ],
)
async def test_a_layer_of_ones_own_sends_nothing_if_something_is_bad(bad: Any, error: type[Exception]) -> None:
    layer = OwnLayer()
    layer.max_message_size = 100
    with pytest.raises(error):
        await layer.send_many([("jobs", {"n": 0}), bad])
    assert not layer.messages


async def test_an_expiry_that_a_layer_does_not_know_is_told_of_each_message() -> None:
    with pytest.raises(NotAllSent, match="expiry"):
        await OwnLayer().send_many([("jobs", {})], expiry=5)
    with pytest.raises(ValueError, match="expiry"):
        await OwnLayer().send_many([("jobs", {})], expiry=0)
