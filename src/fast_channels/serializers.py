"""Messages to bytes and back: formats, encryption, and the registry that names them.

A format is a class with `as_bytes` and `from_bytes`; everything around it (encryption, a random prefix) is done here.
"""

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from fast_channels.exceptions import FastChannelsError, InvalidMessageError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

__all__ = [
    "BaseMessageSerializer",
    "JSONSerializer",
    "MissingSerializer",
    "MsgPackSerializer",
    "SerializerDoesNotExist",
    "SerializersRegistry",
    "registry",
]

SHORTEST_KEY: Final = 16
"""Characters that an encryption key has at least: what is shorter can be guessed by who has seen one message."""


class SerializerDoesNotExist(FastChannelsError, KeyError):
    """No serializer is registered for the format."""

    __str__ = Exception.__str__  # that of KeyError shows its text as a quoted string


class BaseMessageSerializer(ABC):
    """A format, with encryption around it.

    Subclasses override `as_bytes` and `from_bytes`; layers call `serialize` and `deserialize`.

    Args:
        symmetric_encryption_keys: the first encrypts, every one decrypts; each has 16 characters or more. None or
            empty: no encryption.
        random_prefix_length: bytes of noise before each message, so that equal messages differ.
        expiry: accepted for compatibility and ignored: no clock decides whether a message can be read.
    """

    def __init__(
        self,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 0,
        expiry: float | None = None,
    ) -> None:
        self.random_prefix_length = random_prefix_length
        self.expiry = expiry
        self.crypter: MultiFernet | None = self._crypter(symmetric_encryption_keys)

    @abstractmethod
    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        """Encode `message`. A value that cannot be encoded raises TypeError or ValueError."""

    @abstractmethod
    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        """Decode what `as_bytes` made."""

    def serialize(self, raw_message: Any, context: bytes = b"") -> bytes:
        """The bytes that travel. With encryption, they can be read again only under the same `context` (the address).

        Raises:
            InvalidMessageError: a value that the format cannot encode.
            TypeError: the format's `as_bytes` made no bytes of it.
        """
        try:
            data = self.as_bytes(raw_message)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidMessageError(f"the message cannot be encoded: {error}") from error
        if not isinstance(data, bytes):
            raise TypeError(f"{type(self).__name__}.as_bytes() must return bytes, not {type(data).__name__}")
        if self.random_prefix_length:
            data = os.urandom(self.random_prefix_length) + data
        if self.crypter is not None:
            data = self.crypter.encrypt(len(context).to_bytes(2) + context + data)
        return data

    def deserialize(self, message: bytes, context: bytes = b"") -> Any:
        """The message in `message`.

        Raises:
            ValueError: the message was encrypted for another address.
            cryptography.fernet.InvalidToken: none of the keys fits.
            msgspec.DecodeError: bytes that are no message (a format of your own: what its `from_bytes` raises).
        """
        if self.crypter is not None:
            message = self._opened(self.crypter.decrypt(message), context)
        if self.random_prefix_length:
            message = message[self.random_prefix_length :]
        return self.from_bytes(message)

    def decoder(self) -> Callable[[bytes], Any]:
        """`deserialize`, or just `from_bytes` where there is nothing around a message: for who decodes very many."""
        plain = self.crypter is None and not self.random_prefix_length
        untouched = type(self).deserialize is BaseMessageSerializer.deserialize
        return self.from_bytes if plain and untouched else self.deserialize

    @staticmethod
    def _opened(data: bytes, context: bytes) -> bytes:
        end = 2 + int.from_bytes(data[:2])
        if data[2:end] != context:
            raise ValueError("the message was encrypted for another address")
        return data[end:]

    def _crypter(self, keys: Sequence[str | bytes] | None) -> "MultiFernet | None":
        if isinstance(keys, (str, bytes)):
            raise ValueError("symmetric_encryption_keys must be a list of keys, not a single key")
        keys = list(keys or ())
        if not keys:
            return None
        for key in keys:
            _check_key(key)
        from cryptography.fernet import MultiFernet

        return MultiFernet([self.make_fernet(key) for key in keys])

    def make_fernet(self, key: str | bytes) -> "Fernet":
        """The cipher of one key: any string, whose SHA-256 is the key of a Fernet."""
        from cryptography.fernet import Fernet

        data = key.encode() if isinstance(key, str) else key
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(data).digest()))


def _check_key(key: object) -> None:
    """Raise an error, without the key in it, unless `key` can be one."""
    if not key:
        raise ValueError("an encryption key is empty: is its environment variable set?")
    if not isinstance(key, (str, bytes)):
        raise TypeError(f"an encryption key is text or bytes, not {type(key).__name__}")
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"an encryption key has fewer than {SHORTEST_KEY} characters and can be guessed: "
            "make one with secrets.token_urlsafe(32)"
        )


class MissingSerializer(BaseMessageSerializer):
    """Stands for a format whose library is not installed: making one raises `exception`."""

    exception: ClassVar[Exception] = ImportError("the library of this format is not installed")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise self.exception

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        raise self.exception

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        raise self.exception


def _plain(value: Any) -> Any:
    """What stands for a value that the formats do not know: of a subclass, such as `SafeString`, its base."""
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


# Not `str(value)` and the like: a subclass decides what that is, and may return itself.
_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    float: float.__float__,
    int: int.__index__,
    bytes: lambda value: bytes(memoryview(value)),
}


class JSONSerializer(BaseMessageSerializer):
    """JSON. Bytes travel as base64 text and come back as text."""

    # the functions themselves: a method around them would cost a third of the encoding
    as_bytes = staticmethod(msgspec.json.Encoder(enc_hook=_plain).encode)  # type: ignore[assignment]
    from_bytes = staticmethod(msgspec.json.Decoder().decode)  # type: ignore[assignment]


class MsgPackSerializer(BaseMessageSerializer):
    """MessagePack, the default."""

    # the functions themselves: a method around them would cost a third of the encoding
    as_bytes = staticmethod(msgspec.msgpack.Encoder(enc_hook=_plain).encode)  # type: ignore[assignment]
    from_bytes = staticmethod(msgspec.msgpack.Decoder().decode)  # type: ignore[assignment]


class SerializersRegistry:
    """Formats by name."""

    def __init__(self) -> None:
        self._registry: dict[str, type[BaseMessageSerializer]] = {}

    def register_serializer(self, format: str, serializer_class: type[BaseMessageSerializer]) -> None:
        """Name a format. The class has `serialize` and `deserialize`, as `BaseMessageSerializer` has."""
        for method in ("serialize", "deserialize"):
            if not callable(getattr(serializer_class, method, None)):
                raise TypeError(f"{serializer_class!r} has no method {method}(): derive it from BaseMessageSerializer")
        self._registry[format] = serializer_class

    def get_serializer(self, format: str, *args: Any, **kwargs: Any) -> BaseMessageSerializer:
        """A serializer of `format`, made with the further arguments.

        Raises:
            SerializerDoesNotExist: the format is not registered.
        """
        try:
            serializer_class = self._registry[format]
        except KeyError:
            known = ", ".join(sorted(self._registry))
            raise SerializerDoesNotExist(f"no serializer for the format {format!r} (registered: {known})") from None
        return serializer_class(*args, **kwargs)


registry = SerializersRegistry()
"""The formats that layers know by name: `msgpack`, `json`, and what an application registers."""

registry.register_serializer("json", JSONSerializer)
registry.register_serializer("msgpack", MsgPackSerializer)
