"""Messages come back as the format carries them, what it cannot carry is refused, and keys decide who can read."""

import copy
import json
import secrets
import time
import uuid
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from cryptography.fernet import InvalidToken
from hypothesis import given
from hypothesis import strategies as st

from fast_channels import serializers
from fast_channels.exceptions import FastChannelsError, InvalidMessageError
from fast_channels.layers.redis import serializers as for_redis
from fast_channels.serializers import (
    SHORTEST_KEY,
    BaseMessageSerializer,
    JSONSerializer,
    MissingSerializer,
    MsgPackSerializer,
    SerializerDoesNotExist,
    SerializersRegistry,
    registry,
)

KEY = "a secret of ours"
OLD, NEW = "the old secret of ours", "the new secret of ours"

each_format = pytest.mark.parametrize("format", ["msgpack", "json"])
each_key = pytest.mark.parametrize("keys", [None, [KEY]], ids=["plain", "encrypted"])


@dataclass
class Point:
    x: int
    y: int


class Pair(NamedTuple):
    left: int
    right: int


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Record(msgspec.Struct):
    name: str


class Told(TypedDict):
    text: str


def there_and_back(value: Any, format: str = "msgpack", keys: list[str | bytes] | None = None) -> Any:
    serializer = registry.get_serializer(format, symmetric_encryption_keys=keys)
    return serializer.deserialize(serializer.serialize(value))


# Round trips

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
for_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
for_msgpack = st.recursive(
    scalars | st.binary() | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text() | st.integers(0, 2**63), inner, max_size=5),
    max_leaves=20,
)


@given(for_msgpack)
def test_plain_values_come_back_equal_from_msgpack(value: Any) -> None:
    assert there_and_back(value) == value


@given(for_json)
def test_plain_values_come_back_equal_from_json(value: Any) -> None:
    assert there_and_back(value, "json") == value


@given(st.dictionaries(st.text(), for_msgpack, max_size=5), st.binary(max_size=100), st.integers(0, 20))
def test_encryption_and_noise_change_nothing_that_comes_back(message: Any, context: bytes, noise: int) -> None:
    serializer = MsgPackSerializer(symmetric_encryption_keys=[KEY], random_prefix_length=noise)
    assert serializer.deserialize(serializer.serialize(message, context), context) == message


@given(for_msgpack)
def test_what_comes_back_once_comes_back_the_same_again(value: Any) -> None:
    once = there_and_back(value)
    assert there_and_back(once) == once


@given(st.dictionaries(st.text(), for_msgpack, max_size=5))
def test_plain_msgpack_is_exactly_msgpack(message: dict[str, Any]) -> None:
    assert MsgPackSerializer().serialize(message) == msgspec.msgpack.encode(message)


def test_plain_json_is_what_any_json_parser_reads() -> None:
    message = {"type": "chat.message", "text": "héllo \u2028", "n": [1, 2.5, None, True]}
    assert json.loads(JSONSerializer().serialize(message)) == message


@each_format
@each_key
def test_a_message_that_comes_back_is_a_copy(format: str, keys: list[str | bytes] | None) -> None:
    message = {"inner": {"list": [1]}}
    found = there_and_back(message, format, keys)
    found["inner"]["list"].append(2)
    assert message == {"inner": {"list": [1]}}


# Conversions: the table that the docs show

CONVERSIONS: dict[str, tuple[Any, Any]] = {
    "tuple": ((1, 2), [1, 2]),
    "named tuple": (Pair(1, 2), [1, 2]),
    "set": ({1}, [1]),
    "frozenset": (frozenset([1]), [1]),
    "UUID": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "Decimal": (Decimal("1.10"), "1.10"),
    "date": (date(2024, 2, 29), "2024-02-29"),
    "time": (time_of_day(12, 30), "12:30:00"),
    "naive datetime": (datetime.fromisoformat("2024-02-29T12:00:00"), "2024-02-29T12:00:00"),
    "timedelta": (timedelta(minutes=1.5), "PT90S"),
    "dataclass": (Point(1, 2), {"x": 1, "y": 2}),
    "Struct": (Record("a"), {"name": "a"}),
    "TypedDict": (Told(text="a"), {"text": "a"}),
    "OrderedDict": (OrderedDict(a=1), {"a": 1}),
    "defaultdict": (defaultdict(list, a=1), {"a": 1}),
    "enum": (Colour.RED, "red"),
    "int enum": (Level.HIGH, 3),
    "greatest int": (2**64 - 1, 2**64 - 1),
    "least int": (-(2**63), -(2**63)),
}
ONLY_MSGPACK: dict[str, tuple[Any, Any]] = {
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "bytearray": (bytearray(b"\xff"), b"\xff"),
    "memoryview": (memoryview(b"\xff"), b"\xff"),
    "aware datetime": (
        datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 2, 29, 10, tzinfo=UTC),
    ),
    "int keys": ({1: "a"}, {1: "a"}),
    "None as a key": ({None: "a"}, {None: "a"}),
    "tuple as a key": ({(1, 2): "a"}, {(1, 2): "a"}),
    "infinity": (float("inf"), float("inf")),
}
ONLY_JSON: dict[str, tuple[Any, Any]] = {
    "bytes": (b"\x00\xff", "AP8="),
    "aware datetime": (
        datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=2))),
        "2024-02-29T12:00:00+02:00",
    ),
    "int keys": ({1: "a"}, {"1": "a"}),
    "NaN": (float("nan"), None),
    "infinity": (float("inf"), None),
}


def table(*tables: dict[str, tuple[Any, Any]]) -> list[Any]:
    return [pytest.param(*row, id=name) for rows in tables for name, row in rows.items()]


@pytest.mark.parametrize(("value", "carried"), table(CONVERSIONS, ONLY_MSGPACK))
def test_msgpack_carries_a_value_as(value: Any, carried: Any) -> None:
    found = there_and_back({"value": value})["value"]
    assert found == carried
    assert type(found) is type(carried)


@pytest.mark.parametrize(("value", "carried"), table(CONVERSIONS, ONLY_JSON))
def test_json_carries_a_value_as(value: Any, carried: Any) -> None:
    found = there_and_back({"value": value}, "json")["value"]
    assert found == carried
    assert type(found) is type(carried)


class SafeText(str):
    """As that of Django or MarkupSafe: it stays one whatever is done to it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Number(float):
    """As that of numpy."""


class Count(int):
    """One that counts something."""


class Blob(bytes):
    """Some data."""


@pytest.mark.parametrize("format", ["msgpack", "json"])
def test_a_subclass_of_a_plain_type_is_carried_as_that(format: str) -> None:
    serializer = registry.get_serializer(format)
    message = {"type": SafeText("x"), SafeText("key"): [SafeText("<b>")], "half": Number(0.5), "count": Count(2**63)}
    carried = serializer.deserialize(serializer.serialize(message))
    assert carried == {"type": "x", "key": ["<b>"], "half": 0.5, "count": 2**63}
    assert [type(value) for value in carried.values()] == [str, list, float, int]


def test_a_subclass_of_bytes_is_carried_as_bytes() -> None:
    serializer = MsgPackSerializer()
    assert type(serializer.deserialize(serializer.serialize({"data": Blob(b"x")}))["data"]) is bytes


def test_nan_stays_nan_in_msgpack() -> None:
    found = there_and_back(float("nan"))
    assert found != found


# What is refused


def deeply_nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


def endless() -> Any:
    message: dict[str, Any] = {}
    message["message"] = message
    return message


REFUSED: dict[str, Any] = {
    "object": object(),
    "function": deeply_nested,
    "class": Point,
    "generator": (n for n in [1]),
    "deque": deque([1]),
    "complex": 1j,
    "exception": ValueError("x"),
    "surrogate": "\ud800",
    "surrogate as a key": {"\udfff": 1},
    "circular": endless(),
    "nested without end": deeply_nested(100_000),
}


@each_format
@pytest.mark.parametrize("value", REFUSED.values(), ids=list(REFUSED))
def test_a_value_that_cannot_be_carried_is_refused(format: str, value: Any) -> None:
    with pytest.raises(InvalidMessageError, match=r"^the message cannot be encoded: "):
        registry.get_serializer(format).serialize({"value": value})


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**400])
def test_a_whole_number_over_64_bits_is_refused_by_msgpack(value: int) -> None:
    with pytest.raises(InvalidMessageError):
        MsgPackSerializer().serialize({"value": value})


def test_a_refusal_is_a_type_error_that_names_the_type() -> None:
    with pytest.raises(TypeError, match="objects of type object is unsupported"):
        MsgPackSerializer().serialize({"deep": [{"inside": object()}]})


@each_format
@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\x01\x01"])
def test_bytes_that_are_no_message_are_refused(format: str, data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        registry.get_serializer(format).deserialize(data)


# Noise


def test_equal_messages_differ_on_the_wire_with_a_random_prefix() -> None:
    serializer = MsgPackSerializer(random_prefix_length=12)
    sent = {serializer.serialize({"n": 1}) for _ in range(20)}
    assert len(sent) == 20
    assert {len(data) for data in sent} == {12 + len(msgspec.msgpack.encode({"n": 1}))}


def test_the_random_prefix_does_not_come_back() -> None:
    serializer = JSONSerializer(random_prefix_length=5)
    assert serializer.deserialize(b"12345" + b'{"n":1}') == {"n": 1}


# Encryption


def encrypting(*keys: str | bytes) -> MsgPackSerializer:
    return MsgPackSerializer(symmetric_encryption_keys=list(keys))


def test_what_is_encrypted_does_not_show_the_message() -> None:
    assert b"canary" not in encrypting(KEY).serialize({"text": "canary"}, b"where")


def test_a_later_key_reads_what_was_sent_before_the_rotation() -> None:
    sent = encrypting(OLD).serialize({"n": 1})
    assert encrypting(NEW, OLD).deserialize(sent) == {"n": 1}


def test_the_first_key_encrypts() -> None:
    sent = encrypting(NEW, OLD).serialize({"n": 1})
    assert encrypting(NEW).deserialize(sent) == {"n": 1}
    with pytest.raises(InvalidToken):
        encrypting(OLD).deserialize(sent)


def test_another_key_reads_nothing() -> None:
    with pytest.raises(InvalidToken):
        encrypting("another secret of ours").deserialize(encrypting(KEY).serialize({"n": 1}))


def test_a_message_that_is_not_encrypted_is_not_read_by_who_has_keys() -> None:
    with pytest.raises(InvalidToken):
        encrypting(KEY).deserialize(MsgPackSerializer().serialize({"n": 1}))


def test_a_changed_message_is_not_read() -> None:
    sent = bytearray(encrypting(KEY).serialize({"n": 1}))
    sent[40] ^= 1
    with pytest.raises(InvalidToken):
        encrypting(KEY).deserialize(bytes(sent))


def test_a_key_is_text_or_bytes() -> None:
    assert encrypting(KEY.encode()).deserialize(encrypting(KEY).serialize({"n": 1})) == {"n": 1}


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_message_is_read_at_the_address_that_it_was_sent_to_alone(sent_to: bytes, read_at: bytes) -> None:
    sent = encrypting(KEY).serialize({"n": 1}, sent_to)
    if read_at == sent_to:
        assert encrypting(KEY).deserialize(sent, read_at) == {"n": 1}
    else:
        with pytest.raises(ValueError, match="encrypted for another address"):
            encrypting(KEY).deserialize(sent, read_at)


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
def test_no_clock_decides_whether_a_message_can_be_read(hours: int) -> None:
    """A sender whose clock is ahead or behind loses nothing."""
    fernet = encrypting(KEY).make_fernet(KEY)
    token = fernet.encrypt_at_time(b"\0\0" + msgspec.msgpack.encode({"n": 1}), int(time.time()) + hours * 3600)
    reading = MsgPackSerializer(symmetric_encryption_keys=[KEY], expiry=60)
    assert reading.deserialize(token) == {"n": 1}


@pytest.mark.parametrize("keys", ["one key", b"one key", ""])
def test_a_bare_key_is_refused(keys: Any) -> None:
    with pytest.raises(ValueError, match="must be a list of keys, not a single key"):
        MsgPackSerializer(symmetric_encryption_keys=keys)


@pytest.mark.parametrize("key", ["", b"", None])
def test_an_empty_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="key is empty: is its environment variable set"):
        MsgPackSerializer(symmetric_encryption_keys=[KEY, key])


@pytest.mark.parametrize("key", ["hunter2", b"hunter2", "x" * (SHORTEST_KEY - 1)])
@pytest.mark.parametrize("others", [[], [KEY]])
def test_a_key_that_can_be_guessed_is_refused(key: Any, others: list[str]) -> None:
    with pytest.raises(ValueError, match=r"fewer than 16 characters .* secrets\.token_urlsafe\(32\)$") as caught:
        MsgPackSerializer(symmetric_encryption_keys=[*others, key])
    assert str(key) not in str(caught.value)


def test_the_shortest_key_is_a_key() -> None:
    assert encrypting("x" * SHORTEST_KEY).crypter is not None


def test_what_the_error_recommends_is_a_key() -> None:
    assert encrypting(secrets.token_urlsafe(32)).crypter is not None


def test_a_key_that_is_no_text_is_refused_without_being_shown() -> None:
    with pytest.raises(TypeError, match=r"^an encryption key is text or bytes, not int$"):
        MsgPackSerializer(symmetric_encryption_keys=[1234567890123456789])  # type: ignore[list-item]


@pytest.mark.parametrize("keys", [None, []])
def test_no_keys_encrypt_nothing(keys: Any) -> None:
    assert MsgPackSerializer(symmetric_encryption_keys=keys).serialize({"n": 1}) == msgspec.msgpack.encode({"n": 1})


def test_keys_may_come_from_anything_that_yields_them() -> None:
    serializer = MsgPackSerializer(symmetric_encryption_keys=(key for key in [KEY]))  # type: ignore[arg-type]
    assert encrypting(KEY).deserialize(serializer.serialize({"n": 1})) == {"n": 1}


# Formats of one's own


class PlainFormat(BaseMessageSerializer):
    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        return repr(message).encode()

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return message.decode()


class BorrowedFormat(BaseMessageSerializer):
    """As users write it: the functions of another library, hung into the class."""

    as_bytes = staticmethod(msgspec.json.encode)  # type: ignore[assignment]
    from_bytes = staticmethod(json.loads)  # type: ignore[assignment]


@each_key
@pytest.mark.parametrize(("kind", "found"), [(PlainFormat, "{'n': 1}"), (BorrowedFormat, {"n": 1})])
def test_a_format_of_ones_own_is_found_by_name(kind: Any, found: Any, keys: list[str | bytes] | None) -> None:
    formats = SerializersRegistry()
    formats.register_serializer("own", kind)
    serializer = formats.get_serializer("own", symmetric_encryption_keys=keys, random_prefix_length=4)
    assert type(serializer) is kind
    assert serializer.deserialize(serializer.serialize({"n": 1})) == found


def test_a_format_that_refuses_a_value_refuses_the_message() -> None:
    class Strict(PlainFormat):
        def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
            raise ValueError("no such thing")

    with pytest.raises(InvalidMessageError, match="cannot be encoded: no such thing"):
        Strict().serialize({})


def test_a_format_that_makes_no_bytes_is_told_so() -> None:
    class Text(PlainFormat):
        as_bytes = staticmethod(json.dumps)  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"^Text\.as_bytes\(\) must return bytes, not str$"):
        Text().serialize({})


def test_a_format_that_lacks_a_direction_cannot_be_made() -> None:
    class OneWay(BaseMessageSerializer):
        def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
            return b""

    with pytest.raises(TypeError, match="from_bytes"):
        OneWay()  # type: ignore[abstract]


def test_what_is_no_serializer_is_not_registered() -> None:
    with pytest.raises(TypeError, match=r"has no method serialize\(\): derive it from BaseMessageSerializer"):
        SerializersRegistry().register_serializer("own", dict)  # type: ignore[arg-type]


def test_registering_a_format_again_replaces_it() -> None:
    formats = SerializersRegistry()
    formats.register_serializer("own", PlainFormat)
    formats.register_serializer("own", BorrowedFormat)
    assert type(formats.get_serializer("own")) is BorrowedFormat


def test_an_unknown_format_names_the_ones_there_are() -> None:
    with pytest.raises(SerializerDoesNotExist) as caught:
        registry.get_serializer("yaml")
    assert str(caught.value).startswith("no serializer for the format 'yaml' (registered: json, msgpack")


def test_an_unknown_format_is_a_key_error_and_one_of_the_librarys() -> None:
    assert issubclass(SerializerDoesNotExist, KeyError)
    assert issubclass(SerializerDoesNotExist, FastChannelsError)


def test_a_format_whose_library_is_missing_says_so_when_it_is_made() -> None:
    class Missing(MissingSerializer):
        exception = ImportError("pip install it")

    with pytest.raises(ImportError, match="pip install it"):
        Missing()


def test_users_of_the_redis_layers_find_the_same_names_and_the_same_registry() -> None:
    assert for_redis.registry is serializers.registry
    assert set(for_redis.__all__) == set(serializers.__all__)
    assert all(getattr(for_redis, name) is getattr(serializers, name) for name in serializers.__all__)


def test_the_error_for_an_unknown_format_can_be_copied() -> None:
    assert str(copy.copy(SerializerDoesNotExist("which"))) == "which"
