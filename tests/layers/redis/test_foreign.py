"""What somebody else wrote is read without falling over it, and shown on one short line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.foreign import LONGEST, is_plain, number, shown


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"i:abc:1", "i:abc:1"),
        (b"two\nlines", r"two\nlines"),
        (b"\x1b[31m", r"\x1b[31m"),
        (b"\xff", r"\xff"),
        (b"", ""),
    ],
)
def test_it_is_shown_as(data: bytes, text: str) -> None:
    assert shown(data) == text


@given(st.binary(max_size=1000))
def test_whatever_it_is_it_is_one_short_line(data: bytes) -> None:
    assert shown(data).isprintable()
    assert len(shown(data)) <= LONGEST + 1


def test_the_longest_name_is_shown_as_a_whole() -> None:
    assert shown(b"c:" + b"x" * 99) == "c:" + "x" * 99


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"12", 12), (b"-3", -3), (None, 0), (b"", 0), (b"-", 0), (b"x", 0), (b"1.5", 0), (b"\xff", 0), (b"9" * 5000, 0)],
)
def test_a_number_is_read_as(data: bytes | None, value: int) -> None:
    assert number(data) == value


@given(st.binary(max_size=50))
def test_no_data_is_too_strange_for_a_number(data: bytes) -> None:
    assert isinstance(number(data), int)


@pytest.mark.parametrize(
    ("name", "is_one"), [("jobs", True), ("a!b", False), ("", False), ("a b", False), ("a\n", False)]
)
def test_a_plain_name_is_one_of_the_grammar(name: str, is_one: bool) -> None:
    assert is_plain(name) is is_one
