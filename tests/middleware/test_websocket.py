"""Who may open a WebSocket."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import ParseResult, urlparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.middleware import OriginValidator, WebsocketDenier
from fast_channels.testing import ApplicationCommunicator, WebsocketCommunicator

ACCEPTED = (True, None)
DENIED = (False, 1000)


class Consumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()


async def opens(allowed: Iterable[str], *origins: bytes) -> Any:
    """What happens to a connection with these Origin headers."""
    headers = [(b"host", b"example.com"), *((b"origin", origin) for origin in origins)]
    communicator = WebsocketCommunicator(OriginValidator(Consumer.as_asgi(), allowed), "/", headers=headers)
    result = await communicator.connect()
    await communicator.disconnect()
    return result


async def test_an_origin_that_is_allowed() -> None:
    assert await opens(["http://allowed.com"], b"http://allowed.com") == ACCEPTED
    assert await opens(["other.com", ".allowed.com"], b"https://a.allowed.com:8000") == ACCEPTED


async def test_an_origin_that_is_not_allowed() -> None:
    assert await opens(["allowed.com"], b"http://evil.com") == DENIED
    assert await opens([], b"http://allowed.com") == DENIED


REFUSED = [
    [],
    [b""],
    [b"null"],
    [b"allowed.com"],
    [b"https://allowed.com:99999"],
    [b"https://[::1"],
    [b"https://evil@allowed.com"],
    [b"https://user:password@allowed.com"],
    [b"https://allowed.com", b"https://allowed.com"],
    [b"https://allowed.com", b"https://evil.com"],
    [b"https://evil.com", b"https://allowed.com"],
    [b"https://allowed.com https://allowed.com"],
    [b"https://allowed.com\xff"],
    ["https://bücher.allowed.com".encode()],
]


@pytest.mark.parametrize("origins", REFUSED)
async def test_a_missing_malformed_or_second_origin_is_refused(origins: list[bytes]) -> None:
    assert await opens(["https://.allowed.com", "allowed.com"], *origins) == DENIED


@pytest.mark.parametrize("origins", REFUSED)
async def test_a_star_allows_whatever_comes(origins: list[bytes]) -> None:
    assert await opens(["other.com", "*"], *origins) == ACCEPTED
    assert await opens("*", *origins) == ACCEPTED


async def test_the_case_of_a_headers_name_does_not_matter() -> None:
    headers = [(b"Origin", b"https://allowed.com"), (b"origin", b"https://evil.com")]
    validator = OriginValidator(Consumer.as_asgi(), ["allowed.com", "evil.com"])
    assert await WebsocketCommunicator(validator, "/", headers=headers).connect() == DENIED
    communicator = WebsocketCommunicator(validator, "/", headers=headers[:1])
    assert await communicator.connect() == ACCEPTED
    await communicator.disconnect()


async def test_a_scope_without_headers_has_no_origin() -> None:
    communicator = ApplicationCommunicator(OriginValidator(Consumer.as_asgi(), ["a.com"]), {"type": "websocket"})
    await communicator.send_input({"type": "websocket.connect"})
    assert (await communicator.receive_output())["type"] == "websocket.close"


@pytest.mark.parametrize("kind", ["http", "lifespan"])
async def test_it_guards_websockets_only_and_says_so(kind: str) -> None:
    communicator = ApplicationCommunicator(OriginValidator(Consumer.as_asgi(), ["*"]), {"type": kind, "headers": []})
    with pytest.raises(ValueError, match=f"'{kind}': wrap the application of the WebSocket route"):
        await communicator.wait()


async def test_it_returns_what_the_application_returns() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> Any:
        return scope

    scope = {"type": "websocket", "headers": []}

    async def nothing(*args: Any) -> Any: ...

    assert await OriginValidator(application, ["*"])(scope, nothing, nothing) is scope


def test_a_single_string_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a list of origins, not a single string: \['example.com'\]"):
        OriginValidator(Consumer.as_asgi(), "example.com")


def test_an_allowed_origin_is_a_string() -> None:
    with pytest.raises(TypeError, match="an allowed origin is a string, not NoneType"):
        OriginValidator(Consumer.as_asgi(), [None])  # type: ignore[list-item]


def test_an_allowed_origin_that_can_match_nothing_is_warned_about() -> None:
    with pytest.warns(UserWarning, match=r"'\*.example.com'; for subdomains write '.example.com'") as caught:
        OriginValidator(Consumer.as_asgi(), ["*.example.com"])
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="no origin can match the allowed origin 'a:b'$"):
        OriginValidator(Consumer.as_asgi(), ["a:b"])


def validator(*allowed: str) -> OriginValidator:
    return OriginValidator(Consumer.as_asgi(), iter(allowed))


def test_the_methods_take_parsed_origins() -> None:
    guard = validator("example.com")
    good, bad = urlparse("http://example.com"), urlparse("http://evil.com")
    assert (guard.allowed_origins, guard.application) == (["example.com"], guard.application)
    for method in (guard.valid_origin, guard.validate_origin):
        assert method(good) is True
        assert method(bad) is False
        assert method(None) is False
    assert guard.match_allowed_origin(good, "http://example.com:80")
    assert not guard.match_allowed_origin(good, "*")
    assert not guard.match_allowed_origin(None, "example.com")
    assert validator("*").valid_origin(None)
    assert validator("*").validate_origin(urlparse("https://h:99999"))


@pytest.mark.parametrize(
    ("origin", "port"),
    [
        ("http://a", 80),
        ("ws://a", 80),
        ("https://a", 443),
        ("wss://a", 443),
        ("http://a:8", 8),
        ("http://a:0", 0),
        ("app://a", None),
        ("a", None),
        ("https://h:99999", None),
        ("https://h:x", None),
    ],
)
def test_the_port_of_an_origin(origin: str, port: int | None) -> None:
    assert validator("a.com").get_origin_port(urlparse(origin)) == port


def test_a_subclass_may_decide_itself() -> None:
    class Lenient(OriginValidator):
        def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
            return parsed_origin is None or super().valid_origin(parsed_origin)

    guard = Lenient(Consumer.as_asgi(), ["a.com"])
    assert guard.valid_origin(None)
    assert not guard.valid_origin(urlparse("http://b.com"))


PARTS = st.text(max_size=20)


@given(parts=st.tuples(PARTS, PARTS, PARTS, PARTS, PARTS, PARTS), pattern=PARTS)
def test_no_parsed_origin_raises(parts: tuple[str, str, str, str, str, str], pattern: str) -> None:
    origin = ParseResult(*parts)
    guard = validator("example.com")
    assert not guard.valid_origin(origin)
    guard.match_allowed_origin(origin, pattern)
    guard.get_origin_port(origin)


@given(values=st.lists(st.binary(max_size=30), max_size=3))
async def test_no_header_raises_or_passes(values: list[bytes]) -> None:
    outcome: list[str] = []
    events = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        outcome.append("allowed")

    async def receive() -> Any:
        return events.pop()

    async def send(event: Any) -> None:
        outcome.append(event["type"])

    scope = {"type": "websocket", "headers": [(b"origin", value) for value in values]}
    await OriginValidator(application, [".example.com"])(scope, receive, send)
    assert outcome == ["websocket.close"]


async def test_the_denier_refuses_every_connection() -> None:
    for application in (WebsocketDenier(), WebsocketDenier.as_asgi()):
        communicator = WebsocketCommunicator(application, "/")
        assert await communicator.connect() == DENIED
        await communicator.disconnect()
