"""What a room may be named, and how URLs of a Redis server are shown."""

import pytest
from pydantic import ValidationError

from fast_channels.exceptions import InvalidNameError
from sandbox.rooms import ChatText, chat_message, room_group
from sandbox.valkey import shown


@pytest.mark.parametrize("room", ["lobby", "a", "Room_1.two-three", "x" * 94])
def test_a_room_is_a_group(room: str) -> None:
    assert room_group(room) == f"room.{room}"


@pytest.mark.parametrize("room", ["no room", "a/b", "käse", "lobby\n", "x" * 95, "<b>", "a!b"])
def test_a_room_that_cannot_be_a_group_is_refused(room: str) -> None:
    with pytest.raises(InvalidNameError):
        room_group(room)


def test_a_message_says_which_process_it_came_through() -> None:
    message = chat_message("lobby", ChatText(text="hello"), via="http")
    assert message["type"] == "chat.message"
    assert (message["room"], message["name"], message["text"], message["via"]) == ("lobby", "Somebody", "hello", "http")
    assert isinstance(message["pid"], int)


@pytest.mark.parametrize("said", [{}, {"text": ""}, {"text": "x" * 501}, {"text": "x", "name": ""}, {"text": 1}, []])
def test_what_cannot_be_said_is_refused(said: object) -> None:
    with pytest.raises(ValidationError):
        ChatText.model_validate(said)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("rediss://ada:secret@host:1/2?password=x", "rediss://host:1/2"),
        ("redis://:s@ec@ret@host", "redis://host"),
        ("unix://:secret@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, seen: str) -> None:
    assert shown(url) == seen
