"""The communicators speak with what Starlette and FastAPI make."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket, WebSocketException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router, WebSocketRoute

from fast_channels.testing import HttpCommunicator, WebsocketCommunicator


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat", headers=[(b"x-path", websocket.url.path.encode())])
    async for text in websocket.iter_text():
        await websocket.send_json({"text": text, **websocket.path_params, **websocket.query_params})
    await websocket.close()


async def refuse(websocket: WebSocket) -> None:
    await websocket.close(4003)


async def show(request: Request) -> Response:
    return JSONResponse({"body": (await request.body()).decode(), **request.query_params}, 202)


ROUTES = [
    WebSocketRoute("/ws/{room}", echo),
    WebSocketRoute("/refuse", refuse),
    Route("/show", show, methods=["POST"]),
]


@pytest.mark.parametrize(
    ("application", "prefix"),
    [
        (Starlette(routes=ROUTES), ""),
        (Router(routes=ROUTES), ""),
        (Starlette(routes=[Mount("/api", routes=ROUTES)]), "/api"),
        (FastAPI(routes=ROUTES), ""),
        (ROUTES[0], ""),
    ],
    ids=["starlette", "router", "mount", "fastapi", "route"],
)
async def test_a_websocket(application: Any, prefix: str) -> None:
    communicator = WebsocketCommunicator(application, f"{prefix}/ws/a%20b?x=1", subprotocols=["chat"])
    assert await communicator.connect() == (True, "chat")
    assert communicator.response_headers == [(b"x-path", f"{prefix}/ws/a b".encode())]
    await communicator.send_to("hello")
    assert await communicator.receive_json_from() == {"text": "hello", "room": "a b", "x": "1"}
    await communicator.disconnect()


@pytest.mark.parametrize(("path", "code"), [("/refuse", 4003), ("/nowhere", 1000)])
async def test_a_websocket_that_is_refused(path: str, code: int) -> None:
    communicator = WebsocketCommunicator(Starlette(routes=ROUTES), path)
    assert await communicator.connect() == (False, code)
    await communicator.disconnect()


async def test_a_request() -> None:
    communicator = HttpCommunicator(Starlette(routes=ROUTES), "/show?x=1", method="POST", body=b"hello")
    response = await communicator.get_response()
    assert (response["status"], response["body"]) == (202, b'{"body":"hello","x":"1"}')
    assert dict(response["headers"])[b"content-type"] == b"application/json"
    assert (await HttpCommunicator(Starlette(routes=ROUTES), "/nowhere").get_response())["status"] == 404


def fastapi_routes() -> APIRouter:
    router = APIRouter()

    def user(token: str = "") -> str:
        if not token:
            raise WebSocketException(4401)
        return token

    @router.websocket("/ws")
    async def serve(websocket: WebSocket, user: Annotated[str, Depends(user)]) -> None:
        await websocket.accept()
        await websocket.send_text(user)
        await websocket.receive()

    return router


async def test_the_dependencies_of_fastapi() -> None:
    application = FastAPI()
    application.include_router(fastapi_routes())
    communicator = WebsocketCommunicator(application, "/ws?token=ada")
    assert await communicator.connect() == (True, None)
    assert await communicator.receive_from() == "ada"
    await communicator.disconnect()
    communicator = WebsocketCommunicator(application, "/ws")
    assert await communicator.connect() == (False, 4401)
    await communicator.disconnect()


async def test_a_refusal_by_an_http_response() -> None:
    async def refuse(websocket: WebSocket) -> None:
        await websocket.send_denial_response(Response("no", 451))

    communicator = WebsocketCommunicator(Starlette(routes=[WebSocketRoute("/", refuse)]), "/")
    communicator.scope["extensions"] = {"websocket.http.response": {}}
    assert await communicator.connect() == (False, 451)
    assert dict(communicator.response_headers or [])[b"content-length"] == b"2"
    await communicator.disconnect()
