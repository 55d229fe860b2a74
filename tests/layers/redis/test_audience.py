"""An audience is written before a message, and read again; anything else is harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.audience import Audience

GROUP = st.from_regex(r"[a-zA-Z0-9\-_.]{1,12}", fullmatch=True)
CHANNEL = st.from_regex(r"[a-zA-Z0-9\-_.]{1,12}(![a-zA-Z0-9\-_.]{0,12})?", fullmatch=True)
AUDIENCE = st.builds(Audience, st.lists(GROUP, min_size=1, unique=True).map(tuple), st.frozensets(CHANNEL))


@given(AUDIENCE)
def test_it_comes_out_as_it_went_in(audience: Audience) -> None:
    assert Audience.unpacked(audience.packed()) == audience


@given(AUDIENCE, AUDIENCE)
def test_two_are_written_alike_only_if_they_are_the_same(one: Audience, other: Audience) -> None:
    assert (one.packed() == other.packed()) == (one == other)


@given(st.text())
def test_any_text_is_an_audience_or_a_value_error(text: str) -> None:
    try:
        audience = Audience.unpacked(text)
    except ValueError:
        assert "|" not in text
        return
    assert len(set(audience.groups)) == len(audience.groups)


def test_a_group_that_is_named_very_often_is_there_once() -> None:
    assert Audience.unpacked("room," * 100_000 + "room|").groups == ("room",)


@pytest.mark.parametrize(
    ("audience", "says_it_all"),
    [
        (Audience(("room",)), True),
        (Audience(("room", "hall")), False),
        (Audience(("room",), frozenset({"jobs"})), False),
        (Audience(()), False),
    ],
)
def test_the_name_of_one_group_says_it_all(audience: Audience, says_it_all: bool) -> None:
    assert audience.is_one_group == says_it_all
