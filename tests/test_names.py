"""Names are valid exactly when the grammar says so, and say who owns a channel."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fast_channels import names
from fast_channels.exceptions import InvalidNameError
from fast_channels.names import check_channel_name, check_group_name, check_prefix

LETTERS = string.ascii_letters + string.digits + "-_."

plain_names = st.text(LETTERS, min_size=1, max_size=99)
specific_names = st.tuples(st.text(LETTERS, min_size=1, max_size=50), st.text(LETTERS, max_size=48)).map("!".join)
nearly_names = st.text(st.sampled_from([*LETTERS, "!", "\n", "é", "٣", "|", "{", " ", "\0"]), max_size=110)


def is_plain(text: str) -> bool:
    """The grammar of a group's and of a plain channel's name, written another way than with a pattern."""
    return 0 < len(text) < 100 and set(text) <= set(LETTERS)


def is_channel(text: str) -> bool:
    head, _, tail = text.partition("!")
    return len(text) < 100 and is_plain(head) and set(tail) <= set(LETTERS)


def accepts(check: object, name: object) -> bool:
    assert callable(check)
    try:
        check(name)
    except InvalidNameError:
        return False
    return True


# The grammar


@given(st.one_of(nearly_names, plain_names, specific_names, st.text()))
@example("room\n")
@example("room٣")
@example("x!é")
@example("x!\n")
@example("")
@example("!")
@example("!x")
@example("x!")
@example("x!y!z")
@example("\ud800")
@example("a" * 99)
@example("a" * 100)
@example("a" * 98 + "!")
@example("a" * 99 + "!")
def test_a_name_is_valid_exactly_when_it_is_in_the_grammar(text: str) -> None:
    assert accepts(check_channel_name, text) == is_channel(text)
    assert accepts(check_group_name, text) == is_plain(text)


@given(plain_names)
def test_a_plain_name_can_be_a_group_and_a_channel(name: str) -> None:
    check_channel_name(name)
    check_group_name(name)


@given(specific_names)
def test_a_specific_name_is_no_group(name: str) -> None:
    check_channel_name(name)
    assert not accepts(check_group_name, name)


@pytest.mark.parametrize("name", [None, 5, b"room", ["room"], ("room",), object(), True])
def test_what_is_no_text_is_no_name(name: object) -> None:
    assert not accepts(check_channel_name, name)
    assert not accepts(check_group_name, name)


def test_an_invalid_name_is_a_type_error_that_shows_the_name() -> None:
    with pytest.raises(TypeError) as caught:
        check_group_name("no spaces")
    assert str(caught.value) == (
        "Group name must be a valid unicode string with length < 100 containing only ASCII alphanumerics, hyphens, "
        "underscores, or periods. Got 'no spaces'."
    )


def test_a_channel_is_told_from_a_group_in_the_error() -> None:
    with pytest.raises(InvalidNameError, match=r"^Channel name must be .* Got None\.$"):
        check_channel_name(None)


def test_a_long_name_is_cut_in_the_error() -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_channel_name("x" * 1_000_000)
    assert len(str(caught.value)) < 300
    assert str(caught.value).endswith("....")


def test_long_names_are_not_remembered() -> None:
    """Names come from clients: 8,192 that are long would fill the memory."""
    before = names._is_channel_name.cache_info().currsize, names._is_group_name.cache_info().currsize
    for number in range(100):
        assert not accepts(check_channel_name, f"{number}".ljust(10_000, "x"))
        assert not accepts(check_group_name, f"{number}".ljust(10_000, "x"))
    after = names._is_channel_name.cache_info().currsize, names._is_group_name.cache_info().currsize
    assert after == before


# Parts of a name


@given(specific_names)
def test_the_part_that_is_not_local_ends_at_the_mark(name: str) -> None:
    head, _, tail = name.partition("!")
    assert names.non_local_name(name) == f"{head}!"
    assert names.non_local_name(name) + tail == name


@given(plain_names)
def test_a_plain_name_is_not_local_as_a_whole(name: str) -> None:
    assert names.non_local_name(name) == name
    assert not names.is_specific(name)


@given(
    st.text(LETTERS, min_size=1, max_size=40),
    st.text(LETTERS.replace(".", ""), min_size=1, max_size=32),
    st.text(LETTERS, max_size=24),
)
def test_the_owner_is_found_in_a_name_that_was_made_of_it(prefix: str, client: str, local: str) -> None:
    name = names.specific_name(prefix, client, local)
    check_channel_name(name)
    assert names.is_specific(name)
    assert names.client_of(name) == client


@pytest.mark.parametrize(
    ("name", "client"), [("specific.abc!x", "abc"), ("abc!x", "abc"), ("a.b.abc!x.y", "abc"), ("a.!x", "")]
)
def test_the_owner_stands_between_the_last_period_and_the_mark(name: str, client: str) -> None:
    assert names.client_of(name) == client


# Prefixes


@pytest.mark.parametrize("prefix", ["asgi", "my app", "a:b", "chat.*[?]", "asgi2", "x" * 500])
def test_a_prefix_may_be_any_printable_text(prefix: str) -> None:
    check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", None, 5, b"asgi", "é", "a\n", "a\0", "\ud800", "a{b", "a}b", "{a}", "a|b", "|"])
def test_a_prefix_holds_no_braces_no_bar_and_nothing_invisible(prefix: object) -> None:
    with pytest.raises(ValueError, match=r"^prefix must "):
        check_prefix(prefix)
