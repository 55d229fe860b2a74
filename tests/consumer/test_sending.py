from typing import Any

import pytest

from fast_channels.consumer import ClientGone
from fast_channels.consumer.sending import ClientSend


async def test_events_go_to_the_server_as_they_are() -> None:
    sent = []

    async def send(event: Any) -> None:
        sent.append(event)

    event = {"type": "websocket.send", "text": "x"}
    await ClientSend(send)(event)
    assert sent[0] is event


@pytest.mark.parametrize("error", [OSError("gone"), BrokenPipeError("gone"), ConnectionResetError("gone")])
async def test_an_os_error_of_the_server_means_that_the_client_is_gone(error: OSError) -> None:
    async def send(event: Any) -> None:
        raise error

    with pytest.raises(ClientGone, match="the client is gone: gone") as caught:
        await ClientSend(send)({})
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, ConnectionError)


async def test_a_client_that_is_gone_is_not_wrapped_twice() -> None:
    error = ClientGone("gone")

    async def send(event: Any) -> None:
        raise error

    with pytest.raises(ClientGone) as caught:
        await ClientSend(ClientSend(send))({})
    assert caught.value is error


async def test_other_errors_of_the_server_are_left_alone() -> None:
    async def send(event: Any) -> None:
        raise RuntimeError("Unexpected ASGI message")

    with pytest.raises(RuntimeError, match="Unexpected"):
        await ClientSend(send)({})
    assert "send" in repr(ClientSend(send))
