"""From the members of groups to who gets a message once."""

from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.redis.destinations import Member
from fast_channels.layers.redis.recipients import Recipients, by_owner, unreached

INBOX = Member(client="c1", epoch="7")
LATER = Member(client="c1", epoch="8")
JOBS = Member(channel="jobs")


def found(*members: tuple[str, list[bytes]], excluded: set[str] | None = None) -> Recipients[str]:
    all_of_them: Recipients[str] = Recipients({}, [])
    for group, listed in members:
        all_of_them.add(group, listed, excluded or set())
    return all_of_them


def test_each_is_named_once_with_its_groups() -> None:
    both = found(("room", [b"i:c1:7", b"c:jobs"]), ("hall", [b"c:jobs", b"i:c2:1", b"i:c1:7"]))
    assert both.members == {INBOX: ["room", "hall"], JOBS: ["room", "hall"], Member("c2", "1"): ["hall"]}
    assert both.strangers == []


def test_two_lives_of_an_inbox_are_two() -> None:
    assert found(("room", [b"i:c1:7"]), ("hall", [b"i:c1:8"])).members == {INBOX: ["room"], LATER: ["hall"]}


def test_a_shared_channel_is_excluded_here_and_an_inbox_never() -> None:
    assert found(("room", [b"i:c1:7", b"c:jobs"]), excluded={"jobs", "s.c1!x", "c1"}).members == {INBOX: ["room"]}


def test_what_is_no_member_is_a_stranger_in_its_group() -> None:
    long = b"i:c1:" + b"9" * 500
    assert found(("room", [b"garbage", b"c:jobs"]), ("hall", [b"\xff", long])).strangers == [
        ("room", b"garbage"),
        ("hall", b"\xff"),
        ("hall", long),
    ]


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.sets(NAMES)), st.sets(NAMES))
def test_shared_channels_are_the_union_of_the_groups_without_the_excluded(
    groups: dict[str, set[str]], excluded: set[str]
) -> None:
    listed = [(group, [f"c:{name}".encode() for name in members]) for group, members in groups.items()]
    members = found(*listed, excluded=excluded).members
    assert {member.channel for member in members} == set().union(*groups.values()) - excluded
    for member, of in members.items():
        assert of == [group for group in groups if member.channel in groups[group]]


def test_specific_channels_are_sorted_by_their_owner() -> None:
    owned = by_owner({"s.c1!a", "t.c1!b", "s.c2!a", "jobs"})
    assert owned == {"c1": {"s.c1!a", "t.c1!b"}, "c2": {"s.c2!a"}}


def test_who_is_gone_is_taken_out_of_every_group_that_named_it_and_counted_once() -> None:
    both = found(("room", [b"i:c1:7", b"garbage"]), ("hall", [b"i:c1:7"]))
    assert unreached(both, {INBOX: "g"}) == (
        [("room", b"garbage"), ("room", b"i:c1:7"), ("hall", b"i:c1:7")],
        [("g", ["room", "hall"])],
    )


def test_a_life_that_is_over_is_no_loss_if_the_present_one_got_the_message() -> None:
    lives = found(("room", [b"i:c1:7"]), ("hall", [b"i:c1:8"]))
    assert unreached(lives, {INBOX: "g", LATER: "1"}) == ([("room", b"i:c1:7")], [])
    assert unreached(lives, {INBOX: "g", LATER: "o"}).dropped == [("g", ["room"]), ("o", ["hall"])]


def test_who_is_full_stays_and_is_counted_and_who_has_no_result_is_not_judged() -> None:
    members = found(("room", [b"i:c1:7", b"c:jobs"]))
    assert unreached(members, {JOBS: "f"}) == ([], [("f", ["room"])])
    assert unreached(members, {INBOX: "1", JOBS: "1"}) == ([], [])
