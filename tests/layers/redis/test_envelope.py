"""What is packed comes out as it went in, and what is no envelope is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.envelope import (
    MARK,
    open_addressed,
    open_envelope,
    pack_addressed,
    pack_control,
    pack_direct,
)
from fast_channels.serializers import JSONSerializer, MsgPackSerializer

CHANNEL = st.from_regex(r"[a-zA-Z0-9\-_.]{1,40}![a-zA-Z0-9\-_.]{0,58}", fullmatch=True)


@given(CHANNEL, st.binary())
def test_a_direct_message_comes_out_with_its_channel(channel: str, payload: bytes) -> None:
    assert open_envelope(pack_direct(channel, payload)) == (channel.encode(), payload)


@given(st.binary())
def test_a_control_entry_comes_out_without_a_channel(payload: bytes) -> None:
    assert open_envelope(pack_control(payload)) == (b"", payload)


@given(CHANNEL, st.binary(), st.binary())
def test_no_message_is_taken_for_a_control_entry(channel: str, payload: bytes, control: bytes) -> None:
    assert pack_direct(channel, payload) != pack_control(control)


@given(CHANNEL, st.binary())
def test_the_head_of_an_envelope_can_be_made_once_for_many_messages(channel: str, payload: bytes) -> None:
    assert pack_direct(channel, b"") + payload == pack_direct(channel, payload)


@given(st.binary())
def test_any_bytes_are_an_envelope_or_a_value_error(data: bytes) -> None:
    try:
        channel, payload = open_envelope(data)
    except ValueError:
        return
    assert bytes([len(channel)]) + channel + payload == data


@pytest.mark.parametrize("data", [b"", b"\x05abc", b"\xff"])
def test_a_truncated_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="truncated envelope"):
        open_envelope(data)


def test_a_channel_of_99_characters_fits() -> None:
    channel = "a" * 49 + "!" + "b" * 49
    assert open_envelope(pack_direct(channel, b"x")) == (channel.encode(), b"x")


# With an audience

AUDIENCE = st.from_regex(r"[a-zA-Z0-9\-_.,|!]{0,80}", fullmatch=True)


@given(AUDIENCE, st.binary())
def test_a_message_comes_out_with_its_audience(audience: str, payload: bytes) -> None:
    data = pack_addressed(audience, payload)
    assert data.startswith(MARK)
    assert open_addressed(data) == (audience, payload)


@given(st.binary())
def test_any_bytes_behind_the_mark_are_a_message_or_a_value_error(data: bytes) -> None:
    try:
        audience, payload = open_addressed(MARK + data)
    except ValueError:
        return
    assert pack_addressed(audience, payload) == MARK + data


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(VALUES)
def test_no_message_begins_with_the_mark(value: object) -> None:
    encrypted = MsgPackSerializer(symmetric_encryption_keys=["k" * 20])
    for serializer in (MsgPackSerializer(), JSONSerializer(), encrypted):
        assert not serializer.serialize(value).startswith(MARK)
