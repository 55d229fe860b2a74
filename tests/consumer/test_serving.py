"""Consumers within endpoints of FastAPI, behind a real server, with real clients."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Query, WebSocket, WebSocketException
from starlette.requests import Request
from starlette.websockets import WebSocketState
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fast_channels.consumer import AsyncHttpConsumer, AsyncWebsocketConsumer
from fast_channels.consumer.draining import drain
from fast_channels.layers import InMemoryChannelLayer
from tests.consumer.client import until
from tests.consumer.test_real_server import closed, errors, serving

used: list[WebSocket] = []
codes: list[int] = []
released: list[str] = []


class Room(AsyncWebsocketConsumer):
    channel_layer_alias = "default"
    groups = ["room"]

    def __init__(self, room: str = "", user: str = "", page: int = 0) -> None:
        super().__init__()
        self.greeting = f"{user} in {room}, page {page}"

    async def connect(self) -> None:
        path, query = self.scope.get("path_params"), self.scope["query_string"].decode()
        await self.accept()
        await self.send(f"{self.greeting}; {path} {query}")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            raise ZeroDivisionError
        if text_data == "close":
            await self.close(4000)
        else:
            await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        codes.append(code)


class Refusing(Room):
    async def connect(self) -> None:
        await self.close()


class Layerless(Room):
    channel_layer_alias = "xyz"


async def current_user(token: Annotated[str | None, Query()] = None) -> AsyncIterator[str]:
    if token is None:
        raise WebSocketException(1008)
    yield f"user {token}"
    released.append(token)


app = FastAPI()
User = Annotated[str, Depends(current_user)]


@app.websocket("/rooms/{room}")
async def in_room(websocket: WebSocket, room: str, user: User, page: int = 1) -> None:
    used.append(websocket)
    await Room.serve(websocket, room=room, user=user, page=page)


@app.websocket("/accepted")
async def accepted(websocket: WebSocket) -> None:
    used.append(websocket)
    await websocket.accept()
    await websocket.send_text("first")
    await Room.serve(websocket, user=await websocket.receive_text())


@app.websocket("/{kind}/refused")
async def refused(websocket: WebSocket, kind: str) -> None:
    used.append(websocket)
    await {"refusing": Refusing, "layerless": Layerless}[kind].serve(websocket)


@pytest.fixture
async def server(layer: InMemoryChannelLayer) -> AsyncIterator[str]:
    used.clear()
    codes.clear()
    released.clear()
    async with serving(app) as address:
        yield address


def states() -> tuple[WebSocketState, WebSocketState]:
    (websocket,) = used
    return websocket.client_state, websocket.application_state


CONNECTED, DISCONNECTED = WebSocketState.CONNECTED, WebSocketState.DISCONNECTED


async def test_path_query_and_dependencies_reach_the_consumer(
    server: str, layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(f"{server}/rooms/attic?token=t&page=3", proxy=None) as client:
        assert await client.recv() == "user t in attic, page 3; {'room': 'attic'} token=t&page=3"
        await layer.group_send("room", {"type": "websocket.send", "text": "to all"})
        assert await client.recv() == "to all"
        assert released == []  # what the endpoint depends on lives as long as the connection
    await until(lambda: released == ["t"])
    assert codes == [1000]
    assert states() == (DISCONNECTED, CONNECTED)
    assert not errors(caplog)


async def test_a_dependency_may_refuse(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{server}/rooms/attic", proxy=None)
    assert used == codes == []
    assert not errors(caplog)


async def test_an_endpoint_may_accept_and_talk_first(server: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(f"{server}/accepted", proxy=None) as client:
        assert await client.recv() == "first"
        await client.send("Ada")
        assert str(await client.recv()).startswith("Ada in")
    await until(lambda: codes == [1000])
    assert not errors(caplog)


async def test_a_consumer_closes(server: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(f"{server}/rooms/attic?token=t", proxy=None) as client:
        await client.recv()
        await client.send("close")
        assert await closed(client) == (4000, "")
    await until(lambda: codes == [4000])
    assert states() == (DISCONNECTED, DISCONNECTED)
    assert not errors(caplog)


async def test_a_consumer_refuses(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(f"{server}/refusing/refused", proxy=None)
    await until(lambda: bool(codes))
    assert states() == (DISCONNECTED, DISCONNECTED)
    assert not errors(caplog)


@pytest.mark.parametrize("where", ["rooms/attic?token=t", "accepted"])
async def test_an_error_in_a_handler_is_the_servers(
    server: str, caplog: pytest.LogCaptureFixture, layer: InMemoryChannelLayer, where: str
) -> None:
    async with connect(f"{server}/{where}", proxy=None) as client:
        await client.recv()
        await client.send("Ada")
        await client.recv()
        await client.send("fail")
        await client.wait_closed()
    await until(lambda: bool(errors(caplog)))
    assert "ZeroDivisionError" in caplog.text
    assert codes == [1011]
    assert not layer.groups


async def test_a_layer_that_is_not_registered_refuses(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus, match="500"):
        await connect(f"{server}/layerless/refused", proxy=None)
    assert "Channel layer 'xyz' not registered" in caplog.text


@pytest.mark.parametrize("where", ["rooms/attic?token=t", "accepted"])
async def test_new_connections_are_told_to_come_back_while_the_process_is_draining(
    server: str, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    await drain(0, 0)
    async with connect(f"{server}/{where}", proxy=None) as client:
        if where == "accepted":
            await client.recv()
            await client.send("Ada")
        assert (await closed(client))[0] == 1012
    assert not errors(caplog)


def a_websocket() -> Any:
    async def nothing(*_: object) -> Any:
        raise NotImplementedError

    return WebSocket({"type": "websocket", "headers": []}, nothing, nothing)


@pytest.mark.parametrize("state", ["client_state", "application_state"])
async def test_a_connection_that_is_closed_already(state: str) -> None:
    websocket = a_websocket()
    setattr(websocket, state, WebSocketState.DISCONNECTED)
    with pytest.raises(RuntimeError, match="closed already"):
        await Room.serve(websocket)


async def test_what_is_no_websocket() -> None:
    with pytest.raises(TypeError, match="takes the WebSocket of an endpoint, not Request"):
        await Room.serve(Request({"type": "http"}))  # type: ignore[arg-type]


async def test_arguments_that_the_constructor_does_not_take() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        await Room.serve(a_websocket(), colour="red")


async def test_consumers_of_requests_are_routed_and_not_served() -> None:
    with pytest.raises(TypeError, match=r"add_consumer\(app, path, AsyncHttpConsumer\)"):
        await AsyncHttpConsumer.serve(Request({"type": "http"}))
