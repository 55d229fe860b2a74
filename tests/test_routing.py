"""Consumers in today's frameworks. `test_routing_on_older_frameworks.py` runs this file on older ones."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from fast_channels.consumer import AsyncConsumer
from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import InvalidNameError
from fast_channels.layers import InMemoryChannelLayer, channel_layers
from fast_channels.middleware import OriginValidator
from fast_channels.routing import ChannelNameRouter, add_consumer, consumer_route

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the newest Starlette would rather have another client than older ones know
    from starlette.testclient import TestClient


class Room(AsyncWebsocketConsumer):
    """Says where it is, and echoes."""

    channel_layer_alias = "default"
    groups = ["everybody"]

    def __init__(self, greeting: str = "welcome") -> None:
        super().__init__()
        self.greeting = greeting

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"{self.greeting} to {self.scope.get('path_params', {}).get('room')}")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4000, "as you wish")
        else:
            await self.channel_layer.group_send("everybody", {"type": "websocket.send", "text": text_data})


class Hello(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_response(200, body or b"hello", headers=[(b"content-type", b"text/plain")])


@pytest.fixture(autouse=True)
def layer() -> Iterator[InMemoryChannelLayer]:
    before = {alias: channel_layers[alias] for alias in channel_layers.list_aliases()}
    layer = InMemoryChannelLayer()
    channel_layers.register("default", layer)
    yield layer
    channel_layers.clear()
    for alias, other in before.items():
        channel_layers.register(alias, other)


def talk(app: Any, path: str, room: str | None, greeting: str = "welcome", **headers: str) -> None:
    """Connect, talk, close."""
    with TestClient(app).websocket_connect(path, headers=headers) as socket:
        assert socket.receive_text() == f"{greeting} to {room}"
        socket.send_text("x")
        assert socket.receive_text() == "x"
        socket.send_text("close")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert (closed.value.code, closed.value.reason) == (4000, "as you wish")


APPS: list[Callable[..., Any]] = [Starlette, FastAPI]
each_app = pytest.mark.parametrize("make_app", APPS)


@each_app
def test_an_application_of_a_consumer_is_the_endpoint_of_a_route(make_app: Any) -> None:
    app = make_app(routes=[WebSocketRoute("/ws/{room}", endpoint=Room.as_asgi(greeting="hi"))])
    talk(app, "/ws/attic", "attic", "hi")
    assert app.url_path_for("Room", room="attic") == "/ws/attic"


@each_app
def test_an_application_of_a_consumer_is_mounted(make_app: Any) -> None:
    app = make_app(routes=[Mount("/ws", app=Room.as_asgi())])
    talk(app, "/ws/", None)
    other = make_app()
    other.mount("/ws", Room.as_asgi())
    talk(other, "/ws/", None)


@each_app
def test_an_http_consumer_is_the_endpoint_of_a_route(make_app: Any) -> None:
    client = TestClient(make_app(routes=[Route("/hello", endpoint=Hello.as_asgi())]))
    assert client.get("/hello").text == "hello"
    assert client.post("/hello", content=b"you").text == "you"


@each_app
def test_a_route_of_a_consumer(make_app: Any) -> None:
    app = make_app(
        routes=[
            consumer_route("/ws/{room}", Room, greeting="hi"),
            consumer_route("/named", Room, name="parlour"),
            consumer_route("/made", Room.as_asgi(greeting="ho")),
            consumer_route("/hello", Hello),
            Mount("/inner", routes=[consumer_route("/ws/{room:int}", Room)]),
        ]
    )
    talk(app, "/ws/attic", "attic", "hi")
    talk(app, "/named", None)
    talk(app, "/made", None, "ho")
    talk(app, "/inner/ws/7", "7")
    assert TestClient(app).get("/hello").text == "hello"
    assert app.url_path_for("parlour") == "/named"


@each_app
def test_a_consumer_is_added_to_an_application(make_app: Any) -> None:
    app = make_app()
    add_consumer(app, "/ws/{room}", Room, greeting="hi")
    add_consumer(app, "/hello", Hello)
    talk(app, "/ws/attic", "attic", "hi")
    assert TestClient(app).get("/hello").text == "hello"


def test_a_consumer_is_added_to_a_router() -> None:
    router = Router()
    add_consumer(router, "/{room}", Room)
    talk(Starlette(routes=[Mount("/ws", app=router)]), "/ws/attic", "attic")

    api = APIRouter(prefix="/api")
    add_consumer(api, "/api/ws/{room}", Room)
    app = FastAPI()
    app.include_router(api, prefix="/v1")
    talk(app, "/v1/api/ws/attic", "attic")


def test_a_consumer_in_middleware_is_routed_by_what_it_is() -> None:
    guarded = OriginValidator(Room.as_asgi(), ["https://example.com"])
    app = Starlette(routes=[consumer_route("/ws/{room}", guarded)])
    talk(app, "/ws/attic", "attic", origin="https://example.com")
    with (
        pytest.raises(WebSocketDisconnect),
        TestClient(app).websocket_connect("/ws/attic", headers={"origin": "https://evil.com"}),
    ):
        pass

    class Wrapper:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.inner(scope, receive, send)

    assert isinstance(consumer_route("/", Wrapper(Wrapper(Hello.as_asgi()))), Route)
    assert isinstance(consumer_route("/", Wrapper(Room.as_asgi())), WebSocketRoute)


def test_arguments_are_for_classes() -> None:
    with pytest.raises(TypeError, match="only the class of a consumer can be given arguments"):
        consumer_route("/", Room.as_asgi(), greeting="hi")
    with pytest.raises(TypeError, match=r"Room\.as_asgi\(\): got an unexpected keyword argument 'colour'"):
        consumer_route("/", Room, colour="red")


def test_a_consumer_is_served_from_an_endpoint_with_dependencies() -> None:
    app = FastAPI()
    events = []

    async def user(token: str) -> Any:
        events.append("begin")
        yield f"hello {token}"
        events.append("end")

    @app.websocket("/ws/{room}")
    async def chat(websocket: WebSocket, room: str, greeting: Annotated[str, Depends(user)]) -> None:
        await Room.serve(websocket, greeting=greeting)

    talk(app, "/ws/attic?token=anna", "attic", "hello anna")
    assert events == ["begin", "end"]
    with pytest.raises(WebSocketDisconnect) as refused, TestClient(app).websocket_connect("/ws/attic"):
        pass
    assert refused.value.code == 1008  # the dependency lacks its token


def test_a_disconnect_reaches_the_consumer_and_its_groups_are_left(layer: InMemoryChannelLayer) -> None:
    codes = []

    class Leaving(Room):
        async def disconnect(self, code: int) -> None:
            codes.append((code, dict(layer.groups)))

    app = Starlette(routes=[consumer_route("/ws", Leaving)])
    with TestClient(app).websocket_connect("/ws") as socket:
        socket.receive_text()
        assert set(layer.groups) == {"everybody"}
        socket.close(4001)
    assert codes == [(4001, {})]


def test_an_error_of_a_handler_reaches_the_server() -> None:
    class Failing(Room):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise ZeroDivisionError

    app = FastAPI()
    add_consumer(app, "/ws", Failing)
    with (
        contextlib.suppress(WebSocketDisconnect),
        pytest.raises(ZeroDivisionError),
        TestClient(app).websocket_connect("/ws") as socket,
    ):
        socket.receive_text()
        socket.send_text("x")
        socket.receive_text()


# Channels of a worker


class Named:
    """An application that notes what it is called with."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)


async def nothing(*_: Any) -> Any:
    """A `receive` and a `send`."""


async def test_a_channel_goes_to_its_application() -> None:
    thumbnails, mails = Named(), Named()
    router = ChannelNameRouter({"thumbnails": thumbnails, "mails": mails})
    scope = {"type": "channel", "channel": "mails"}
    await router(scope, nothing, nothing)
    assert (thumbnails.scopes, mails.scopes) == ([], [scope])
    assert repr(router) == "<ChannelNameRouter: thumbnails, mails>"


async def test_a_channel_without_an_application_is_an_error_that_names_those_that_have_one() -> None:
    router = ChannelNameRouter({"thumbnails": Named(), "mails": Named()})
    for channel in ("jobs", None):
        with pytest.raises(
            ValueError, match=rf"^No application for channel {channel!r} \(there are: thumbnails, mails\)$"
        ):
            await router({"type": "channel", "channel": channel}, nothing, nothing)
    with pytest.raises(ValueError, match=r"\(there are: none\)$"):
        await ChannelNameRouter({})({"type": "channel", "channel": "jobs"}, nothing, nothing)


@pytest.mark.parametrize("kind", ["http", "websocket", None])
async def test_a_connection_is_nothing_for_a_router_of_channels(kind: str | None) -> None:
    with pytest.raises(ValueError, match=f"a scope of type 'channel', not {kind!r}$"):
        await ChannelNameRouter({"jobs": Named()})({"type": kind}, nothing, nothing)


def test_a_class_of_consumers_is_an_application_for_a_channel() -> None:
    class Job(AsyncConsumer):
        """Does nothing."""

    router: Any = ChannelNameRouter({"jobs": Job})
    assert router.application_mapping["jobs"].consumer_class is Job


@pytest.mark.parametrize(
    ("mapping", "kind", "text"),
    [
        ({"no spaces": Named()}, InvalidNameError, "no spaces"),
        ({"jobs": "a name"}, TypeError, "'jobs' needs a consumer"),
    ],
)
def test_what_a_router_of_channels_cannot_be_made_of(mapping: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        ChannelNameRouter(mapping)
