"""What a sender may say to whom: what is taken, and what is refused with which error."""

import math
from decimal import Decimal
from typing import Any

import pytest

from fast_channels.exceptions import InvalidMessageError, InvalidNameError
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of


@pytest.mark.parametrize("expiry", [None, 1, 0.001, 60, 1e300, math.inf])
def test_a_time_is_an_expiry(expiry: float | None) -> None:
    check_expiry(expiry)


@pytest.mark.parametrize("expiry", [0, 0.0, -1, -math.inf, math.nan])
def test_no_time_at_all_is_no_expiry(expiry: float) -> None:
    with pytest.raises(ValueError, match="expiry must be more than 0 seconds, not"):
        check_expiry(expiry)


@pytest.mark.parametrize("expiry", ["60", True, Decimal(60), [60], b"1"])
def test_what_is_no_number_is_no_expiry(expiry: Any) -> None:
    with pytest.raises(TypeError, match=f"expiry is a number of seconds, not {type(expiry).__name__}"):
        check_expiry(expiry)


@pytest.mark.parametrize(
    ("group", "groups"),
    [
        ("room", ("room",)),
        (["room"], ("room",)),
        (("b", "a", "b"), ("b", "a")),
        ([], ()),
    ],
)
def test_groups_are_named_once_in_their_order(group: Any, groups: tuple[str, ...]) -> None:
    assert groups_of(group) == groups


@pytest.mark.parametrize("group", ["ro om", ["room", "a!b"], [["room"]], [None], None, 5, b"room", {"room"}, object()])
def test_what_is_no_group_is_refused(group: Any) -> None:
    with pytest.raises(InvalidNameError, match="Group name"):
        groups_of(group)


@pytest.mark.parametrize("exclude", [["jobs", "s.x!1"], ("s.x!1", "jobs"), {"jobs", "s.x!1"}, {"jobs": 1, "s.x!1": 2}])
def test_any_collection_of_channels_may_be_excluded(exclude: Any) -> None:
    assert excluded_channels(exclude) == {"jobs", "s.x!1"}


@pytest.mark.parametrize("exclude", [(), set(), None, ""])
def test_nothing_excludes_nobody(exclude: Any) -> None:
    assert excluded_channels(exclude) == frozenset()


@pytest.mark.parametrize("exclude", [["ro om"], [None], [["jobs"]], b"jobs"])
def test_what_is_no_channel_cannot_be_excluded(exclude: Any) -> None:
    with pytest.raises(InvalidNameError, match="Channel name"):
        excluded_channels(exclude)


def test_a_single_name_to_exclude_is_not_taken_letter_by_letter() -> None:
    with pytest.raises(InvalidNameError, match=r"exclude is a collection of channel names: \['jobs'\], not 'jobs'"):
        excluded_channels("jobs")


def test_pairs_are_numbered() -> None:
    pairs: list[Any] = [("a", 1), ["b", 2]]
    assert list(pairs_of(iter(pairs))) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("pair", ["ab", ("a",), ("a", 1, 2), None, {"a": 1}, 5])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises(InvalidMessageError, match="send_many takes pairs of a channel and a message, not"):
        list(pairs_of([("a", 1), pair]))


def test_a_long_thing_that_is_no_pair_is_shown_in_short() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        list(pairs_of(["x" * 1000]))  # type: ignore[list-item]
    assert len(str(caught.value)) < 200
