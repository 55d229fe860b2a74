"""What the command line names is found, or it is said what is missing."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fast_channels.cli.errors import CommandError, UsageError
from fast_channels.cli.loading import call_setup, find_layer, find_layers, is_pubsub, load
from fast_channels.cli.program import run
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer

Write = Callable[[str, str], None]


def test_an_object_of_a_module_in_the_current_folder(write: Write) -> None:
    write("shop.py", "class Inner:\n    router = 5\n")
    assert load("shop:Inner.router", "ROUTER") == 5


def test_the_current_folder_comes_first(write: Write) -> None:
    write("wave.py", "router = 5")  # also a module of Python's own
    assert load("wave:router", "ROUTER") == 5
    sys.modules.pop("wave")


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("shop", "^'shop' is not MODULE:ROUTER: write something like shop.workers:router$"),
        (":router", "is not MODULE:ROUTER"),
        ("shop:", "is not MODULE:ROUTER"),
        ("shop:nothing", "^module shop has no 'nothing': check 'shop:nothing'$"),
        ("nowhere:router", "^there is no module nowhere: it is looked for in .* and where packages are$"),
        ("shop.inner:router", "^there is no module shop.inner: "),
    ],
)
def test_what_there_is_not_is_a_mistake_of_the_command_line(write: Write, reference: str, text: str) -> None:
    write("shop.py", "router = 5\n")
    with pytest.raises(UsageError, match=text) as raised:
        load(reference, "ROUTER")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import nowhere_at_all", r"ModuleNotFoundError: No module named 'nowhere_at_all' \(\S+shop.py, line 1\)$"),
        ("\nraise KeyError('DATABASE_URL')", r"KeyError: 'DATABASE_URL' \(\S+shop.py, line 2\)$"),
        ("import json\njson.loads('{')", r"JSONDecodeError: .*\(\S+shop.py, line 2\)$"),
        ("x = (", r"SyntaxError: .*\(shop.py, line 1\)$"),
        ("class Empty(Exception): ...\nraise Empty", r"Empty \(\S+shop.py, line 2\)$"),
    ],
)
def test_what_a_module_raises_is_told_with_its_place(write: Write, code: str, text: str) -> None:
    write("shop.py", code)
    with pytest.raises(CommandError, match=f"^importing shop failed: {text}") as raised:
        load("shop:router", "ROUTER")
    assert raised.value.exit_code == 1


SETUP = """
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

def setup():
    register_channel_layer("jobs", InMemoryChannelLayer())

async def later():
    pass

def broken():
    raise ZeroDivisionError("in the setup")

def nothing():
    pass
"""


def test_the_layers_are_set_up_by_a_function(write: Write, channel_layers: ChannelLayerRegistry) -> None:
    write("layers.py", SETUP)
    call_setup("layers:setup")
    assert channel_layers.list_aliases() == ["jobs"]


def test_or_by_the_import_of_a_module(write: Write, channel_layers: ChannelLayerRegistry) -> None:
    write("layers.py", f"{SETUP}\nsetup()\n")
    call_setup("layers")
    assert channel_layers.list_aliases() == ["jobs"]


def test_or_elsewhere() -> None:
    call_setup(None)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("broken", r"^layers:broken\(\) failed: ZeroDivisionError: in the setup \(\S+layers.py, line 11\)$"),
        ("later", "^layers:later is a coroutine function: name a plain one"),
        ("nothing", "^layers:nothing registers no layer: name another function, as in --layers shop.layers:setup_"),
    ],
)
def test_a_setup_that_fails_is_told(write: Write, function: str, text: str) -> None:
    write("layers.py", SETUP)
    with pytest.raises(CommandError, match=text):
        call_setup(f"layers:{function}")


@pytest.mark.parametrize("setup", ["layers:broken", "bad"])
def test_what_the_code_of_the_user_raises_is_shown_whole_if_asked_for(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setup: str
) -> None:
    write("layers.py", SETUP)
    write("bad.py", "import layers\nlayers.broken()\n")
    for wanted in ("", "1"):
        monkeypatch.setenv("FAST_CHANNELS_TRACEBACK", wanted)
        assert run(["inspect", "--layers", setup]) == 1
        *traceback, line = capsys.readouterr().err.splitlines()
        assert line.startswith("fast-channels: ")
        assert "ZeroDivisionError: in the setup" in line
        assert traceback[:1] == (["Traceback (most recent call last):"] if wanted else [])


@pytest.mark.parametrize("arguments", [["send", "jobs", "{}"], ["inspect"], ["worker", "shop:router"], ["doctor"]])
@pytest.mark.parametrize(
    ("setup", "text"),
    [
        ("layers", "layers registers no layer: name the function in it that does, as in --layers shop.layers:setup_"),
        ("layers:nothing", "layers:nothing registers no layer: name another function, as in --layers shop.layers:"),
    ],
)
def test_a_setup_that_registers_nothing_does_not_lead_to_another_layer(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    setup: str,
    text: str,
) -> None:
    write("layers.py", SETUP)
    write("shop.py", "router = 5\n")
    monkeypatch.setenv("REDIS_URL", "redis://localhost:1")
    assert run([*arguments, "--layers", setup]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"fast-channels: {text}")
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("arguments", [["send", "jobs", "{}"], ["worker", "shop:router"]])
def test_an_alias_is_no_layer_on_the_server_of_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    write("shop.py", "router = 5\n")
    monkeypatch.setenv("REDIS_URL", "redis://localhost:1")
    assert run([*arguments, "--layer", "live"]) == 2
    assert capsys.readouterr().err.startswith("fast-channels: no layer is registered, and so none as 'live': name what")


def test_the_layer_is_the_one_of_the_alias(channel_layers: ChannelLayerRegistry) -> None:
    layer = InMemoryChannelLayer()
    channel_layers.register("jobs", layer)
    assert find_layer("jobs", None, None) is layer


@pytest.mark.parametrize(
    ("alias", "url", "prefix", "text"),
    [
        ("xyz", None, None, r"^Channel layer 'xyz' not registered \(registered: 'jobs'\): choose one with --layer$"),
        ("jobs", "redis://x", None, "leave them out"),
        ("jobs", None, "shop", "leave them out"),
    ],
)
def test_an_alias_that_there_is_not_and_options_without_effect(
    channel_layers: ChannelLayerRegistry, alias: str, url: str | None, prefix: str | None, text: str
) -> None:
    channel_layers.register("jobs", InMemoryChannelLayer())
    with pytest.raises(UsageError, match=text):
        find_layer(alias, url, prefix)


def test_without_any_layer_it_says_how_to_name_one(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^no layer is registered: .* \(--layers MODULE:FUNCTION\), or .*\(--redis-"):
        find_layer("default", None, None)


# Layers for one command


@pytest.mark.parametrize(("alias", "found"), [(None, ["chat", "jobs"]), ("jobs", ["jobs"])])
def test_every_layer_or_one(channel_layers: ChannelLayerRegistry, alias: str | None, found: list[str]) -> None:
    for name in ("jobs", "chat"):
        channel_layers.register(name, InMemoryChannelLayer())
    assert list(find_layers(alias, None, None)) == found


def test_a_server_is_for_when_nothing_is_registered(channel_layers: ChannelLayerRegistry) -> None:
    assert list(find_layers(None, "redis://localhost:1", None)) == ["default"]
    for options in ({"redis_url": "redis://localhost:1"}, {"redis_url": None, "pubsub": True}):
        with pytest.raises(UsageError, match=r"^--redis-url, --prefix and --pubsub are for when nothing registers"):
            find_layers(None, prefix=None, **options)


@pytest.mark.parametrize("pubsub", [False, True])
def test_on_a_server_the_queue_or_pubsub(channel_layers: ChannelLayerRegistry, pubsub: bool) -> None:
    layer = find_layer("jobs", "redis://localhost:1", "shop", pubsub=pubsub)
    assert channel_layers["jobs"] is layer
    assert is_pubsub(layer) is pubsub
    assert repr(layer).endswith("Layer 'shop' on redis://localhost:1/0>")
    assert not is_pubsub(InMemoryChannelLayer())
