"""The guide to consumers does what it says: each of its consumers is driven by a client."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.exceptions import DenyConnection
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.routing import add_consumer
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator
from tests.docs.pages import Page

Guide = dict[str, Any]


@pytest.fixture
async def guide(open_page: Callable[[str], Page]) -> Guide:
    """The namespace of the page, which has a layer, an application and all the consumers."""
    return await open_page("docs/guide/consumers.md").run()


class Client(WebsocketCommunicator):
    """Has patience: the machine may be busy."""

    async def receive_output(self, timeout: float = 1) -> Any:
        return await super().receive_output(max(timeout, 10))

    async def wait(self, timeout: float = 1) -> None:
        await super().wait(max(timeout, 10))


async def connected(application: Any, path: str, **options: Any) -> Client:
    client = Client(application, path, **options)
    assert await client.connect() == (True, None)
    return client


async def test_echo(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    client = await connected(guide["app"], "/ws/echo")
    await client.send_to("hello")
    assert await client.receive_from() == "hello"
    await client.send_to(bytes_data=b"\0")
    assert await client.receive_from() == b"\0"
    await client.disconnect(4000)
    assert capsys.readouterr().out == "gone with code 4000\n"


async def test_chat_from_a_client_and_from_an_endpoint(guide: Guide) -> None:
    ann, bob = await connected(guide["app"], "/ws/chat/red"), await connected(guide["app"], "/ws/chat/red")
    elsewhere = await connected(guide["app"], "/ws/chat/blue")
    await ann.send_to("hello")
    assert [await ann.receive_from(), await bob.receive_from()] == ["hello", "hello"]
    response = await HttpCommunicator(guide["app"], "/rooms/red/messages?text=posted", method="POST").get_response(
        timeout=10
    )
    assert response["status"] == 200
    assert [await ann.receive_from(), await bob.receive_from()] == ["posted", "posted"]
    assert await elsewhere.receive_nothing()
    for client in (ann, bob, elsewhere):
        await client.disconnect()
    assert not guide["channel_layers"]["default"].groups


async def test_straight_to_the_client(guide: Guide, channel_layers: ChannelLayerRegistry) -> None:
    layer = channel_layers["default"]
    client = await connected(guide["app"], "/ws/chat/red")
    await guide["broadcast"](layer, "room.red", "to all")
    assert await client.receive_from() == "to all"
    (members,) = (await layer.inspect())["groups"].values()
    await guide["kick"](layer, members[0])
    assert await client.receive_output() == {
        "type": "websocket.close",
        "code": 4001,
        "reason": "signed in elsewhere",
    }
    await client.disconnect()


@pytest.mark.parametrize("kind", ["close", "unheard.of"])
async def test_an_event_without_a_handler_is_an_error(
    guide: Guide, channel_layers: ChannelLayerRegistry, kind: str
) -> None:
    client = await connected(guide["app"], "/ws/chat/red")
    await channel_layers["default"].group_send("room.red", {"type": kind})
    with pytest.raises(ValueError, match=f"No handler for message type {kind}"):
        await client.wait()


async def test_json(guide: Guide) -> None:
    client = await connected(guide["app"], "/ws/map")
    await client.send_json_to({"at": [1, 2]})
    assert await client.receive_json_from() == {"at": [1, 2]}
    await client.send_to("no JSON")
    with pytest.raises(ValueError, match="Expecting value"):
        await client.wait()


async def test_http(guide: Guide) -> None:
    response = await HttpCommunicator(guide["app"], "/upload", method="POST", body=b"12345").get_response(timeout=10)
    assert (response["status"], response["body"]) == (201, b"5 bytes")


async def test_on_error_keeps_the_connection_or_ends_it_with_a_code(guide: Guide) -> None:
    client = await connected(guide["app"], "/ws/careful")
    await client.send_json_to(50)
    assert await client.receive_json_from() == 2
    await client.send_to("no JSON")
    assert await client.receive_json_from() == {"error": "this is no JSON"}
    await client.send_json_to(0)
    with pytest.raises(ZeroDivisionError):
        await client.wait()
    assert client.output_queue.get_nowait() == {
        "type": "websocket.close",
        "code": 1011,
        "reason": "something went wrong",
    }


async def test_events_pass_a_slow_handler_which_is_cancelled_on_disconnect(
    guide: Guide, channel_layers: ChannelLayerRegistry
) -> None:
    layer = channel_layers["default"]
    consumers: list[Any] = []
    report = guide["ReportConsumer"]

    class Report(report):  # type: ignore[misc, valid-type]
        async def connect(self) -> None:
            consumers.append(self)
            await super().connect()

    client = await connected(Report.as_asgi(), "/")
    await client.send_to("begin")
    await layer.send(consumers[0].channel_name, {"type": "progress", "percent": 10})
    assert await client.receive_from() == "10 %"
    async with asyncio.timeout(10):
        await client.disconnect()  # the handler would take an hour


async def test_arguments_of_the_constructor(guide: Guide) -> None:
    client = await connected(guide["app"], "/ws/greeting")
    assert await client.receive_from() == "Welcome"
    await client.disconnect()


@pytest.mark.parametrize("path", ["/ws/echo", "/ws/chat/red"])
async def test_mounted_routes(guide: Guide, path: str) -> None:
    client = await connected(guide["site"], path)
    await client.send_to("hello")
    assert await client.receive_from() == "hello"
    await client.disconnect()


async def test_depends(guide: Guide) -> None:
    client = await connected(guide["app"], "/ws/personal?token=secret")
    assert await client.receive_from() == "Hello, Ann"
    await client.disconnect()
    assert await Client(guide["app"], "/ws/personal").connect() == (False, 4401)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://example.com", True),
        ("https://example.com:8443", False),
        ("http://example.com", False),
        ("https://www.example.org", True),
        ("http://example.org:81", True),
        ("http://localhost:3000", True),
        ("http://localhost:3001", False),
        ("null", False),
        (None, False),
    ],
)
async def test_origins(guide: Guide, origin: str | None, allowed: bool) -> None:
    headers = [(b"origin", origin.encode())] if origin else []
    client = Client(guide["app"], "/ws/guarded", headers=headers)
    assert (await client.connect())[0] is allowed
    await client.disconnect()


async def test_middleware(guide: Guide) -> None:
    client = await connected(guide["app"], "/ws/language", headers=[(b"accept-language", b"fr-CH, fr;q=0.9")])
    assert await client.receive_from() == "fr"
    await client.disconnect()


# What the client sees when something fails, with a real server


class Failing(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise RuntimeError("in connect()")


class Denying(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class Closing(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


class Lost(AsyncWebsocketConsumer):
    channel_layer_alias = "xyz"


class Listening(AsyncWebsocketConsumer):
    channel_layer_alias = "tiny"
    groups = ["room"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        for _ in range(3):
            await self.channel_layer.group_send("room", {"type": "unheard"})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The address of a server of `app`."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(server.serve([listener]))
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@pytest.mark.parametrize(("consumer", "status"), [(Failing, 500), (Denying, 403), (Closing, 403), (Lost, 500)])
async def test_who_is_not_accepted_sees_a_status(
    guide: Guide, consumer: type[AsyncWebsocketConsumer], status: int
) -> None:
    add_consumer(guide["app"], "/ws/tried", consumer)
    async with served(guide["app"]) as address:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{address}/ws/tried", proxy=None)
    assert refused.value.response.status_code == status


async def code_after(address: str, path: str, frame: str) -> int | None:
    """The code with which the server closes after it got `frame`; None for the end without one."""
    async with connect(f"{address}{path}", proxy=None) as client:
        await client.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), 10)
    return closed.value.rcvd.code if closed.value.rcvd else None


async def test_who_was_accepted_sees_a_code_or_the_end(guide: Guide, channel_layers: ChannelLayerRegistry) -> None:
    channel_layers.register("tiny", InMemoryChannelLayer(capacity=1, overflow="close"))
    add_consumer(guide["app"], "/ws/listening", Listening)
    async with served(guide["app"]) as address:
        assert await code_after(address, "/ws/careful", "0") == 1011  # as `on_error()` says
        assert await code_after(address, "/ws/map", "no JSON") is None
        assert await code_after(address, "/ws/listening", "overflow") == 1013
        async with connect(f"{address}/ws/chat/red", proxy=None) as client:
            await client.send("I am in")
            await client.recv()
            await channel_layers["default"].close()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
