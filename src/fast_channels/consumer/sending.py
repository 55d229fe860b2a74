"""The way to the client, and what it means that it is closed."""

from fast_channels.type_defs import ASGISendCallable, ChannelMessage

__all__ = ["ClientGone", "ClientSend"]


class ClientGone(ConnectionError):
    """Sending to a client that is gone. A handler may catch it; if none does, the consumer takes it as a disconnect."""


class ClientSend:
    """An ASGI `send` whose OSError (the client is gone, says ASGI) cannot be taken for one of the handler's own.

    Raises:
        ClientGone: `send` raised an OSError.
    """

    __slots__ = ("_send",)

    def __init__(self, send: ASGISendCallable) -> None:
        self._send = send

    def __repr__(self) -> str:
        return f"<ClientSend {self._send!r}>"

    async def __call__(self, message: ChannelMessage) -> None:
        """Send an ASGI event to the server."""
        try:
            await self._send(message)
        except ClientGone:
            raise
        except OSError as error:
            raise ClientGone(f"the client is gone: {error}") from error
