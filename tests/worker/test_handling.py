"""One message, handed to an application."""

from typing import Any

import pytest

from fast_channels.exceptions import StopConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.worker.handling import handle, type_of


@pytest.mark.parametrize("message", [None, "text", ["a", "list"], 1])
async def test_what_has_no_type_is_no_message(message: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        pytest.fail("it was called")

    with pytest.raises(ValueError, match=f"messages with a type, not {type(message).__name__}"):
        await handle(application, InMemoryChannelLayer(), "jobs", message)


async def test_receive_gives_the_message_once() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "job"}
        for _ in range(2):
            with pytest.raises(StopConsumer):
                await receive()

    await handle(application, InMemoryChannelLayer(), "jobs", {"type": "job"})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "job.do"}, "job.do"),
        ({}, "None"),
        ({"type": 5}, "5"),
        ({"type": "a\nb"}, r"'a\nb'"),
        ({"type": "x" * 1000}, "'" + "x" * 79),
        ([1], "<class 'list'>"),
    ],
)
def test_the_type_of_a_message_fits_into_a_line_of_the_log(message: Any, text: str) -> None:
    assert type_of(message) == text
