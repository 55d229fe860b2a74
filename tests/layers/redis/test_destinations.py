"""Where messages of the queue are stored, and what scripts answer: rules without a server."""

import pytest

from fast_channels.layers.redis.destinations import (
    Member,
    before_payload,
    destination_of,
    inbox_destination,
    read_answer,
    read_member,
)
from fast_channels.layers.redis.queue import RedisChannelLayer
from fast_channels.layers.redis.scripts import APPEND, PUSH

WIRING = RedisChannelLayer(prefix="shop", send_timeout=30)._wiring


def test_a_specific_channel_is_stored_in_the_inbox_of_its_client() -> None:
    destination = destination_of(WIRING, "specific.abc!1")
    assert destination == inbox_destination(WIRING, "abc")
    assert destination.script is APPEND
    assert destination.arguments == (100_000, 90_000)
    assert destination.keys_for(WIRING.keys, "me")[-1] == b"shop|{i:abc}|answered|me"


def test_a_plain_channel_is_stored_where_it_is_shared() -> None:
    destination = destination_of(WIRING, "jobs")
    assert destination.script is PUSH
    assert destination.arguments == (90_000, b"shop|{c:jobs}|wake")
    assert destination.keys_for(WIRING.keys, "me")[-1] == b"shop|{c:jobs}|answered|me"


def test_an_answer_is_remembered_for_a_minute_at_least() -> None:
    assert destination_of(RedisChannelLayer(send_timeout=1)._wiring, "jobs").arguments[0] == 60_000


def test_what_stands_before_a_payload() -> None:
    assert before_payload("jobs", 5, 1000) == (5, 1000)
    assert before_payload("specific.abc!1", 5, 1000) == (5, "specific.abc!1", b"d1000|specific.abc!1")


@pytest.mark.parametrize(("answer", "read"), [(b"1f1", (0, "1f1")), (b"0:1", (0, "1")), (b"12:f", (12, "f"))])
def test_what_a_script_answers(answer: bytes, read: tuple[int, str]) -> None:
    assert read_answer(answer) == read


@pytest.mark.parametrize(
    ("data", "member"),
    [
        (b"i:abc:17", Member("abc", "17")),
        (b"c:jobs", Member(channel="jobs")),
        (b"i:abc:", None),
        (b"i:abc", None),
        (b"i:a|b:17", None),
        (b"c:not a name", None),
        (b"x:jobs", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_a_member_as_it_stands_on_the_server(data: bytes, member: Member | None) -> None:
    assert read_member(data) == member
