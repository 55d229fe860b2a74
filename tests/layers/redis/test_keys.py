"""Every name on a server begins with the prefix of its layer, and says what it is."""

import re

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.keys import Addresses

NAME = st.from_regex(r"[a-zA-Z0-9\-_.]{1,99}", fullmatch=True)
PREFIX = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="{}|"), min_size=1, max_size=20)
KINDS = ("group", "shared", "inbox")


def address(prefix: str, kind: str, name: str) -> bytes:
    made: bytes = getattr(Addresses(prefix), kind)(name)
    return made


thing = st.tuples(PREFIX, st.sampled_from(KINDS), NAME)


@given(thing, thing)
def test_two_things_never_share_an_address(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (address(*one) == address(*other)) == (one == other)


@given(st.sampled_from(["asgi", "asgi2", "asg", "asgi-"]), st.sampled_from(KINDS), NAME, st.data())
def test_a_prefix_never_reaches_into_a_longer_one(prefix: str, kind: str, name: str, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(["asgi", "asgi2", "asg", "asgi-"]).filter(lambda other: other != prefix))
    assert address(prefix, kind, name).startswith(f"{prefix}|".encode())
    assert not address(prefix, kind, name).startswith(f"{other}|".encode())


@given(NAME)
def test_no_name_makes_an_address_of_another_kind(name: str) -> None:
    assert len({address("asgi", kind, name) for kind in KINDS}) == len(KINDS)


def test_a_channel_that_is_named_like_the_address_of_a_group_is_not_that_group() -> None:
    assert address("asgi", "shared", "asgi__group__admins") != address("asgi", "group", "admins")
    assert address("asgi", "shared", "g.admins") != address("asgi", "group", "admins")


@given(thing)
def test_an_address_has_no_braces(made_of: tuple[str, str, str]) -> None:
    """A Cluster would hash what they enclose, and nothing else."""
    assert not set(address(*made_of)) & set(b"{}")


@pytest.mark.parametrize("prefix", ["a|b", "{a}", "", "a\n", "é", None])
def test_a_prefix_that_could_be_mistaken_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix must "):
        Addresses(prefix)


@pytest.mark.parametrize(
    ("prefix", "pattern"), [("asgi", "asgi|*"), ("a*", r"a\*|*"), ("[x]-?", r"\[x\]\-\?|*"), ("a\\b", r"a\\b|*")]
)
def test_the_pattern_of_everything_takes_the_prefix_literally(prefix: str, pattern: str) -> None:
    assert Addresses(prefix).everything() == pattern


@pytest.mark.parametrize("prefix", ["asgi", "a*", "a?c", "[ab]", "[^a]", "a\\b", "a-b", "*", "a b"])
def test_a_server_finds_with_the_pattern_what_belongs_to_the_prefix_alone(redis_url: str, prefix: str) -> None:
    addresses = Addresses(prefix)
    own = {addresses.group("g"), addresses.shared("c"), addresses.inbox("i")}
    others = {b"abc|g|x", b"a|g|x", b"b|g|x", b"aa|g|x", b"asgi2|g|x", b"a\\b2|g|x", prefix.encode() + b"2|g|x"}
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listening:
        for number, name in enumerate(own | others, start=1):
            listening.subscribe(name)
            assert listening.get_message(timeout=5), f"subscription {number} was not confirmed"
        assert set(client.pubsub_channels(addresses.everything())) == own


def test_an_address_reads_as_what_it_is() -> None:
    made = [address("asgi", kind, "x") for kind in KINDS]
    assert made == [b"asgi|g|x", b"asgi|c|x", b"asgi|i|x"]
    assert all(re.fullmatch(rb"asgi\|[a-z]\|x", name) for name in made)
