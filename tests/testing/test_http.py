"""The HTTP communicator."""

from typing import Any

import pytest

from fast_channels.consumer import AsyncHttpConsumer
from fast_channels.testing import HttpCommunicator


class Echo(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_response(201, body, headers=[(b"x-method", self.scope["method"].encode())])


async def streams(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        event = await receive()
        body += event["body"]
        more = event["more_body"]
    await send({"type": "http.response.start", "status": 200})
    for letter in body:
        await send({"type": "http.response.body", "body": bytes([letter]), "more_body": True})
    await send({"type": "http.response.body"})


async def test_a_request_and_its_response() -> None:
    communicator = HttpCommunicator(Echo.as_asgi(), "/", method="post", body=b"hello")
    await communicator.send_request()
    response = await communicator.get_response()
    assert response == {"status": 201, "headers": [(b"x-method", b"POST")], "body": b"hello"}
    await communicator.wait()


async def test_the_request_is_sent_by_who_asks_for_the_response() -> None:
    response = await HttpCommunicator(Echo.as_asgi(), "/").get_response()
    assert response == {"status": 201, "headers": [(b"x-method", b"GET")], "body": b""}


async def test_a_streamed_response_is_put_together() -> None:
    response = await HttpCommunicator(streams, "/", body=b"abc").get_response()
    assert response == {"status": 200, "headers": [], "body": b"abc"}


async def test_a_body_in_several_parts() -> None:
    communicator = HttpCommunicator(streams, "/", body=b"ab")
    await communicator.send_request(more_body=True)
    await communicator.send_input({"type": "http.request", "body": b"cd", "more_body": False})
    assert (await communicator.get_response())["body"] == b"abcd"


def test_the_scope() -> None:
    scope = HttpCommunicator(Echo.as_asgi(), "/a%20b?x=%20", method="put", headers=[(b"host", b"h")]).scope
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "PUT", "1.1")
    assert (scope["path"], scope["query_string"], scope["headers"]) == ("/a b", b"x=%20", [(b"host", b"h")])
    assert scope["asgi"] == {"version": "3.0"}


async def test_another_event_is_an_assertion_error() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"too early"})

    with pytest.raises(AssertionError, match=r"Expected type 'http.response.start', but was 'http.response.body'"):
        await HttpCommunicator(application, "/").get_response()


async def test_an_exception_of_the_application_is_raised() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HttpCommunicator(application, "/").get_response()


async def test_a_response_that_does_not_come_is_a_timeout() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    communicator = HttpCommunicator(application, "/")
    with pytest.raises(TimeoutError):
        await communicator.get_response(timeout=0.01)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"path": None}, "path must be a string"), ({"path": "/", "body": "text"}, "body must be bytes, not str")],
)
def test_arguments_of_another_type_are_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        HttpCommunicator(Echo.as_asgi(), **arguments)
