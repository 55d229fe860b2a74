"""What is imported when: the Redis layers when they are touched, encryption when there are keys."""

import subprocess
import sys

import pytest

from fast_channels import layers


def run(code: str) -> str:
    """The output of `code` in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(code: str) -> set[str]:
    return set(run(f"{code}\nimport sys; print(*sorted(name.partition('.')[0] for name in sys.modules))").split())


HEAVY = {"redis", "hiredis", "cryptography", "fastapi", "starlette", "uvicorn", "pytest", "typer", "rich"}


@pytest.mark.parametrize(
    "code",
    [
        "import fast_channels",
        "import fast_channels.layers",
        "from fast_channels.layers import InMemoryChannelLayer, register_channel_layer, get_channel_layer",
        "from fast_channels.serializers import MsgPackSerializer; MsgPackSerializer()",
    ],
)
def test_nothing_heavy_is_imported_by(code: str) -> None:
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize("name", ["RedisChannelLayer", "RedisPubSubChannelLayer"])
def test_a_redis_layer_is_imported_when_it_is_touched(name: str) -> None:
    loaded = loaded_by(f"from fast_channels.layers import {name}; {name}()")
    assert {"redis", "hiredis"} <= loaded
    assert not loaded & (HEAVY - {"redis", "hiredis", "cryptography"})


@pytest.mark.parametrize(("module", "name"), [("core", "RedisChannelLayer"), ("pubsub", "RedisPubSubChannelLayer")])
def test_it_is_the_layer_itself(module: str, name: str) -> None:
    code = (
        "from fast_channels import layers; import fast_channels.layers.redis as redis\n"
        f"from fast_channels.layers.redis.{module} import {name} as layer\n"
        f"print(layers.{name} is redis.{name} is layer)"
    )
    assert run(code) == "True"


def test_encryption_is_imported_when_there_are_keys() -> None:
    make = "MsgPackSerializer(symmetric_encryption_keys=['a' * 16])"
    code = f"from fast_channels.serializers import MsgPackSerializer; {make}"
    assert "cryptography" in loaded_by(code)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fast_channels\.layers' has no attribute 'Nonsense'$"):
        layers.Nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(layers, "__wrapped__")


def test_a_name_that_does_not_exist_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        exec("from fast_channels.layers import Nonsense")


def test_half_an_extra_names_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['hiredis'] = None\n"
        "from fast_channels import layers\n"
        "try: layers.RedisPubSubChannelLayer\n"
        "except ImportError as error: print(error)"
    )
    said = run(code)
    assert "(hiredis)" in said
    assert 'pip install "fast-channels[redis]"' in said


def test_everything_promised_is_offered() -> None:
    promised = {
        "BaseChannelLayer",
        "ChannelLayerRegistry",
        "InMemoryChannelLayer",
        "RedisChannelLayer",
        "RedisPubSubChannelLayer",
        "channel_layers",
        "close_channel_layers",
        "get_channel_layer",
        "has_layers",
        "register_channel_layer",
        "unregister_channel_layer",
    }
    assert promised <= set(layers.__all__)
