"""The base class hands a connection on."""

from typing import Any

from fast_channels.middleware import BaseMiddleware
from fast_channels.testing import WebsocketCommunicator
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelScope


async def test_the_inner_application_gets_a_copy_of_the_scope() -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> Any:
        seen.append((scope, receive, send))
        scope["user"] = "somebody"
        return "returned"

    async def receive() -> Any: ...

    async def send(event: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    middleware = BaseMiddleware(application)
    assert middleware.inner is application
    assert await middleware(scope, receive, send) == "returned"
    assert seen == [({"type": "websocket", "user": "somebody"}, receive, send)]
    assert scope == {"type": "websocket"}


async def test_a_subclass_changes_what_the_inner_application_sees() -> None:
    class WithUser(BaseMiddleware):
        async def __call__(self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Any:
            return await super().__call__({**scope, "user": "ada"}, receive, send)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["user"]})

    communicator = WebsocketCommunicator(WithUser(WithUser(application)), "/")
    assert await communicator.connect() == (True, "ada")
    await communicator.wait()
