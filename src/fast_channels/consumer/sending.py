"""The way to the client, and what it means that it is closed."""

from fast_channels.type_defs import ASGISendCallable, ChannelMessage

__all__ = ["ClientGone", "ClientSend"]


class ClientGone(ConnectionError):
    """Sending to a client that is gone. A handler may catch it; if none does, the consumer takes it as a disconnect."""


class ClientSend:
    """An ASGI `send` whose OSError (the client is gone, says ASGI) cannot be taken for one of the handler's own.

    Attributes:
        last: the event after which nothing is sent; who tries is told that the client is gone. None as long as there
            is none.

    Raises:
        ClientGone: `send` raised an OSError, or the last event is sent, or about to be.
    """

    __slots__ = ("_send", "last")

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send
        self.last: ChannelMessage | None = None

    def __repr__(self) -> str:
        return f"<ClientSend {self._send!r}>"

    async def __call__(self, message: ChannelMessage) -> None:
        """Send an ASGI event to the server."""
        if self.last is not None and message is not self.last:
            raise ClientGone("the connection was closed already")
        try:
            await self._send(message)
        except ClientGone:
            raise
        except OSError as error:
            raise ClientGone(f"the client is gone: {error}") from error
