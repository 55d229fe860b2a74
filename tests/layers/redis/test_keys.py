"""Every name on a server begins with the prefix of its layer, and says what it is."""

import binascii
import re

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from fast_channels import names
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.layers.redis.topology import shard_of

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


# The queue's keys

THINGS = ("inbox", "shared", "group")
KIND = {"inbox": "i", "shared": "c", "group": "g"}

queue_thing = st.tuples(PREFIX, st.sampled_from(THINGS), NAME)


def keys_of(prefix: str, thing: str, name: str, client: str = "sender") -> list[bytes]:
    """Everything that is kept of a thing, with what its senders were answered."""
    keys = QueueKeys(prefix)
    if thing == "group":
        return [keys.group(name)]
    made = keys.inbox(name) if thing == "inbox" else keys.shared(name)
    return [*made, keys.answered(made[0], client)]


def slot(key: bytes) -> int:
    """Where a Cluster keeps a key: as its specification says."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    hashed = key[start + 1 : end] if start >= 0 and end > start + 1 else key
    return binascii.crc_hqx(hashed, 0) % 16384


def test_slots_are_computed_as_a_cluster_does() -> None:
    assert slot(b"123456789") == 12739
    assert slot(b"{user1000}.following") == slot(b"user1000")


@given(queue_thing)
def test_all_keys_of_a_thing_are_in_one_slot_and_on_one_shard(made_of: tuple[str, str, str]) -> None:
    """So is where it is published that a shared channel has messages."""
    keys = keys_of(*made_of)
    wake = QueueKeys(made_of[0]).wake(made_of[2])
    keys += [wake] if made_of[1] == "shared" else []
    assert len({slot(key) for key in keys}) == 1
    assert len({shard_of(key.rpartition(b"|")[0], 7) for key in keys if b"|answered|" not in key}) == 1


@given(PREFIX)
def test_the_leases_are_in_one_slot(prefix: str) -> None:
    assert len({slot(key) for key in QueueKeys(prefix).leases()}) == 1


def test_the_things_of_one_prefix_are_spread_over_the_slots() -> None:
    """And so are those of one name in several prefixes, if they are of several kinds."""
    assert len({slot(QueueKeys("asgi").shared(f"jobs{number}").ready) for number in range(100)}) > 90
    assert len({slot(keys_of("asgi", thing, "x")[0]) for thing in THINGS}) == 3


@given(queue_thing, queue_thing, NAME, NAME)
def test_two_things_never_share_a_key(
    one: tuple[str, str, str], other: tuple[str, str, str], sender: str, another: str
) -> None:
    shared = set(keys_of(*one, sender)) & set(keys_of(*other, another))
    assert bool(shared) == (one == other)


@given(queue_thing)
def test_no_two_keys_of_a_thing_are_equal(made_of: tuple[str, str, str]) -> None:
    keys = keys_of(*made_of)
    assert len(set(keys)) == len(keys)


@given(st.sampled_from(["asgi", "asgi2", "asg", "asgi-"]), st.sampled_from(THINGS), NAME, st.data())
def test_no_name_reaches_the_keys_of_another_prefix(prefix: str, thing: str, name: str, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(["asgi", "asgi2", "asg", "asgi-"]).filter(lambda other: other != prefix))
    for key in [*keys_of(prefix, thing, name), *QueueKeys(prefix).leases(), QueueKeys(prefix).wake(name)]:
        assert key.startswith(f"{prefix}|".encode())
        assert not key.startswith(f"{other}|".encode())


@given(queue_thing, NAME)
def test_a_key_says_what_it_belongs_to(made_of: tuple[str, str, str], client: str) -> None:
    _, thing, name = made_of
    assert {QueueKeys.thing_of(key) for key in keys_of(*made_of, client)} == {(KIND[thing], name)}


@given(PREFIX)
def test_the_leases_belong_to_nothing_else(prefix: str) -> None:
    assert {QueueKeys.thing_of(key) for key in QueueKeys(prefix).leases()} == {("leases", "")}


@given(st.binary())
def test_what_somebody_else_has_put_there_belongs_to_nothing(key: bytes) -> None:
    kind, name = QueueKeys.thing_of(b"asgi|" + key)
    assert kind == name == "" or b"{" in key


@given(queue_thing)
def test_what_a_message_is_encrypted_for_is_no_key_and_nothing_elses(made_of: tuple[str, str, str]) -> None:
    prefix, _, name = made_of
    keys = QueueKeys(prefix)
    contexts = {
        keys.channel_context(name),
        keys.control_context(name),
        keys.audience_context(name),
        keys.audience_context(f"{name}|"),
        keys.group(name),
    }
    assert len(contexts) == 5
    assert not contexts - {keys.group(name)} & {key for thing in THINGS for key in keys_of(prefix, thing, name)}


@given(NAME, NAME)
def test_an_inbox_is_where_the_channels_of_its_client_are_sent(client: str, local: str) -> None:
    channel = names.specific_name("specific", client.replace(".", "-"), local)
    keys = QueueKeys("asgi")
    assert keys.inbox(names.client_of(channel)) == keys.inbox(client.replace(".", "-"))


@pytest.mark.parametrize("prefix", ["a|b", "{a}", "", "a\n", "é", None])
def test_a_prefix_that_could_be_mistaken_has_no_keys(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix must "):
        QueueKeys(prefix)


def test_keys_read_as_what_they_are() -> None:
    keys = QueueKeys("asgi")
    assert keys.inbox("x").meta == b"asgi|{i:x}|meta"
    assert keys.shared("jobs").ready == b"asgi|{c:jobs}|ready"
    assert keys.group("room") == b"asgi|{g:room}|members"
    assert keys.answered(keys.shared("jobs").ready, "x") == b"asgi|{c:jobs}|answered|x"
    assert keys.leases() == (b"asgi|{leases}|ends", b"asgi|{leases}|runs")
    assert keys.wake("jobs") == b"asgi|{c:jobs}|wake"
    assert keys.everything() == "asgi|*"
