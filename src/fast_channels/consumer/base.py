"""What all consumers share: the life of a connection, the channel layer, and the way from a message to its handler."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import Any, ClassVar, cast

from fast_channels.consumer.application import ConsumerApplication
from fast_channels.consumer.channel import layer_of_worker, open_channel
from fast_channels.consumer.connection import Connection
from fast_channels.consumer.draining import lobby
from fast_channels.consumer.finishing import finish
from fast_channels.consumer.handlers import get_handler_name, handler_table, reserved_names
from fast_channels.consumer.sending import ClientGone, ClientSend
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.type_defs import ASGIReceiveCallable, ASGISendCallable, ChannelMessage, ChannelScope

__all__ = ["AsyncConsumer", "ClientGone", "get_handler_name"]


class AsyncConsumer:
    """Serves one ASGI connection: each message goes to the method that its type names (`chat.message` to
    `chat_message`).

    Messages are the client's frames and, with a layer, the events that are sent to the consumer's channel and groups.
    Handlers are coroutine methods with one argument, the message. They run one at a time, in order. Methods of the
    framework are out of a message's reach, but for the protocol's handlers (`websocket_receive`, …).

    However the consumer ends, its groups are left and its tasks are gone before the call returns.

    Attributes:
        scope: the ASGI scope of the connection.
        channel_layer: the layer: that of the alias, or else that of the worker in which the consumer runs. None without
            both; the type leaves that out, so that handlers need not ask.
        channel_name: the consumer's own channel (with a layer).
        base_send: sends an ASGI event to the server; raises `ClientGone` (a ConnectionError) if the client is gone.
    """

    channel_layer_alias: str | None = None
    """The registered layer to use; None for no layer, or for that of the worker."""

    cancel_handler_on_disconnect: bool = False
    """Whether handlers are cancelled, where they wait, once the client has disconnected. Otherwise they finish."""

    concurrent_events: int = 1
    """How many events of the layer are handled at a time. With more than one, events do not wait for a handler of a
    frame either, and two handlers may run at once.
    """

    scope: ChannelScope
    channel_layer: BaseChannelLayer = cast("BaseChannelLayer", None)
    channel_name: str
    base_send: ASGISendCallable

    # A prefix, because subclasses are full of private names of their own.
    _fc_kind: ClassVar[type[Connection]] = Connection
    _fc_handlers: ClassVar[dict[str, str]] = {}
    _fc_reserved: ClassVar[frozenset[str]]
    _fc_connection: Connection | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._fc_reserved = reserved_names(cls)
        cls._fc_handlers = handler_table(cls, cls._fc_reserved)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'channel_name', 'without a channel')}>"

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApplication:
        """An ASGI application that serves each connection with a new consumer, made with `initkwargs`.

        Raises:
            TypeError: the constructor does not take them.
        """
        return ConsumerApplication(cls, initkwargs)

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Serve one connection; while this process is draining, refuse it. See `fast_channels.lifecycle.drain`.

        Raises:
            InvalidChannelLayerError: `channel_layer_alias` is not registered. Nothing was sent.
            ValueError: a message without a handler, or a scope of a type that this consumer does not serve.
            Exception: whatever a handler or `on_error` raised, after `disconnect()` has run.
        """
        self._fc_kind.check_scope(scope, self)
        self.scope = scope
        self.base_send = ClientSend(send)
        here = lobby()
        if here.is_draining and await self._fc_kind.refuse(scope, receive, self.base_send):
            return
        reader = None
        layer = self.channel_layer_alias if self.channel_layer_alias is not None else layer_of_worker(scope)
        if layer is not None:
            self.channel_layer, self.channel_name, reader = await open_channel(layer)
        connection = self._fc_connection = self._fc_kind(self, reader)
        here.add(connection)
        try:
            # in a task of its own: each waking of this one goes down through every layer of the server's middleware
            connection.task = asyncio.get_running_loop().create_task(connection.run(receive))
            await connection.task
        except GeneratorExit:  # the loop is gone, nothing can be awaited
            raise
        except BaseException as error:
            was_cut = connection.was_cut(error)
            await finish(connection, None if was_cut else error)
            if not was_cut:
                raise
        else:
            await finish(connection, None)
        finally:
            here.discard(connection)
            self._fc_connection = None

    async def dispatch(self, message: ChannelMessage) -> None:
        """Hand `message` to its handler. Override it to look at every message.

        Raises:
            ValueError: the message has no type, or no handler.
        """
        await self._fc_handle(message)

    async def send(self, message: ChannelMessage) -> None:
        """Send an ASGI event to the server."""
        await self.base_send(message)

    async def on_error(self, exc: Exception) -> None:
        """Called with what a handler raised, for a frame or an event. If it returns, the connection is kept.

        The default raises `exc`: the consumer ends, and the server logs it and closes the connection, with 1011 or,
        as uvicorn, without one. Raise `StopConsumer` to end it quietly. An error in `connect()` that is handled here
        refuses the connection, unless it was accepted.
        """
        try:
            raise exc
        finally:
            del exc  # the traceback would hold this frame, and this frame the error

    @cached_property
    def channel_receive(self) -> "partial[Any]":
        """Receives the next message of the consumer's own channel (with a layer)."""
        if not hasattr(self, "channel_name"):
            raise AttributeError(f"{type(self).__name__} has no channel layer: set channel_layer_alias")
        return partial(self.channel_layer.receive, self.channel_name)

    def _fc_dispatcher(self) -> Callable[[ChannelMessage], Awaitable[None]]:
        """`dispatch`, or what it does where nobody has overridden it: a coroutine less for each message."""
        overridden = type(self).dispatch is not AsyncConsumer.dispatch or "dispatch" in vars(self)
        return self.dispatch if overridden else self._fc_handle

    def _fc_handle(self, message: ChannelMessage) -> Awaitable[None]:
        try:
            name = self._fc_handlers[message["type"]]
        except (KeyError, TypeError):
            name = self._fc_find_handler(message)
        handling: Awaitable[None] = getattr(self, name)(message)
        return handling

    def _fc_find_handler(self, message: ChannelMessage) -> str:
        """The slow way: a handler that was put on the class or the instance later, or a clear error."""
        try:
            name = get_handler_name(message)
        except ValueError as error:
            raise ValueError(f"{error} (received by {type(self).__name__})") from None
        if name in self._fc_handlers or (name not in self._fc_reserved and callable(getattr(self, name, None))):
            return name
        raise ValueError(f"No handler for message type {message['type']!s:.80} in {type(self).__name__}")


AsyncConsumer._fc_reserved = reserved_names(AsyncConsumer)
