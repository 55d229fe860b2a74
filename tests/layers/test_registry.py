"""Layers by alias: registered once, asked for everywhere, closed when the application ends."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    close_channel_layers,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    registry,
    unregister_channel_layer,
)


class Layer(BaseChannelLayer):
    """Counts how often it was closed, or fails to close."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.closed = 0
        self._error = error

    async def close(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


@pytest.fixture
def layers() -> ChannelLayerRegistry:
    return ChannelLayerRegistry()


# Aliases


def test_a_registered_layer_is_found(layers: ChannelLayerRegistry) -> None:
    layer = Layer()
    layers.register("chat", layer)
    assert layers.get("chat") is layer
    assert layers["chat"] is layer
    assert "chat" in layers
    assert len(layers) == 1


def test_an_empty_registry_has_nothing(layers: ChannelLayerRegistry) -> None:
    assert (len(layers), layers.list_aliases(), "chat" in layers, layers.get("chat")) == (0, [], False, None)


def test_an_unknown_alias_is_a_key_error_that_names_those_there_are(layers: ChannelLayerRegistry) -> None:
    layers.register("queue", Layer())
    layers.register("chat", Layer())
    with pytest.raises(KeyError) as caught:
        layers["xyz"]
    assert caught.value.args == ("Channel layer 'xyz' not registered (registered: 'chat', 'queue')",)


def test_an_unknown_alias_of_an_empty_registry_says_what_to_do(layers: ChannelLayerRegistry) -> None:
    with pytest.raises(KeyError, match=r"'xyz' not registered \(none is: call register_channel_layer\(\) before"):
        layers["xyz"]


def test_aliases_are_listed_in_the_order_of_their_registration(layers: ChannelLayerRegistry) -> None:
    for alias in ("b", "a", "c"):
        layers.register(alias, Layer())
    layers.register("b", Layer())
    assert layers.list_aliases() == ["b", "a", "c"]


def test_the_list_of_aliases_is_a_copy(layers: ChannelLayerRegistry) -> None:
    layers.register("chat", Layer())
    layers.list_aliases().clear()
    assert layers.list_aliases() == ["chat"]


def test_registering_again_replaces_the_layer_and_leaves_the_old_one_open(layers: ChannelLayerRegistry) -> None:
    old, new = Layer(), Layer()
    layers.register("chat", old)
    layers.register("chat", new)
    assert layers["chat"] is new
    assert len(layers) == 1
    assert old.closed == 0


def test_an_unregistered_alias_is_unknown(layers: ChannelLayerRegistry) -> None:
    layers.register("chat", Layer())
    layers.unregister("chat")
    assert "chat" not in layers


def test_unregistering_what_is_not_there_is_no_error(layers: ChannelLayerRegistry) -> None:
    layers.unregister("chat")


def test_clearing_forgets_all_aliases_and_leaves_the_layers_open(layers: ChannelLayerRegistry) -> None:
    layer = Layer()
    layers.register("chat", layer)
    layers.clear()
    assert (len(layers), layer.closed) == (0, 0)


def test_the_aliases_show(layers: ChannelLayerRegistry) -> None:
    assert repr(layers) == "<ChannelLayerRegistry: empty>"
    layers.register("chat", Layer())
    layers.register("queue", Layer())
    assert repr(layers) == "<ChannelLayerRegistry: chat, queue>"


# Asking for what is not there


def test_an_unknown_alias_is_none_and_warns_once(
    layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    layers.register("chat", Layer())
    assert [layers.get("xyz"), layers.get("xyz")] == [None, None]
    assert caplog.record_tuples == [
        ("fast_channels.layers", logging.WARNING, "Channel layer 'xyz' not registered (registered: 'chat')")
    ]


def test_each_unknown_alias_is_warned_about(layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture) -> None:
    layers.get("one")
    layers.get("two")
    assert len(caplog.messages) == 2


def test_an_alias_that_was_there_meanwhile_is_warned_about_again(
    layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    layers.get("chat")
    layers.register("chat", Layer())
    layers.unregister("chat")
    layers.get("chat")
    assert len(caplog.messages) == 2


def test_a_registered_alias_is_not_warned_about(layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture) -> None:
    layers.register("chat", Layer())
    layers.get("chat")
    assert "chat" in layers
    assert "xyz" not in layers
    assert not caplog.messages


# Closing


async def test_closing_closes_every_layer_once_and_keeps_them_registered(layers: ChannelLayerRegistry) -> None:
    one, two = Layer(), Layer()
    layers.register("a", one)
    layers.register("b", two)
    layers.register("also a", one)
    await layers.close()
    assert (one.closed, two.closed, len(layers)) == (1, 1, 3)


async def test_all_are_closed_whatever_happens_to_one(layers: ChannelLayerRegistry) -> None:
    first, failing, last = Layer(), Layer(ConnectionError("gone")), Layer()
    for alias, layer in {"a": first, "b": failing, "c": last}.items():
        layers.register(alias, layer)
    with pytest.raises(ConnectionError, match="gone"):
        await layers.close()
    assert (first.closed, failing.closed, last.closed) == (1, 1, 1)


async def test_closing_nothing_is_no_error(layers: ChannelLayerRegistry) -> None:
    await layers.close()


async def test_a_closed_layer_opens_again_when_it_is_used(layers: ChannelLayerRegistry) -> None:
    layers.register("chat", InMemoryChannelLayer())
    await layers.close()
    await layers["chat"].send("jobs", {"n": 1})
    assert await layers["chat"].receive("jobs") == {"n": 1}


# As the lifespan of an application


async def test_the_lifespan_closes_the_layers_at_its_end(layers: ChannelLayerRegistry) -> None:
    layer = Layer()
    layers.register("chat", layer)
    async with layers.lifespan():
        assert layer.closed == 0
    assert layer.closed == 1


async def test_the_lifespan_closes_the_layers_when_the_application_fails(layers: ChannelLayerRegistry) -> None:
    layer = Layer()
    layers.register("chat", layer)
    with pytest.raises(KeyError):
        async with layers.lifespan():
            raise KeyError
    assert layer.closed == 1


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
async def test_it_is_the_lifespan_of_a_framework(
    layers: ChannelLayerRegistry, framework: type[FastAPI] | type[Starlette]
) -> None:
    layer = Layer()
    layers.register("chat", layer)
    app = framework(lifespan=layers.lifespan)
    for runs in (1, 2):
        async with app.router.lifespan_context(app):
            assert layer.closed == runs - 1
        assert layer.closed == runs


async def test_it_stands_within_the_lifespan_of_an_application(layers: ChannelLayerRegistry) -> None:
    seen = []
    layer = Layer()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        layers.register("chat", layer)
        async with layers.lifespan(app):
            yield
        seen.append(layer.closed)

    app = FastAPI(lifespan=lifespan)
    async with app.router.lifespan_context(app):
        assert layer.closed == 0
    assert seen == [1]


# The registry of the application


@pytest.mark.usefixtures("channel_layers")
def test_the_functions_work_on_the_registry_of_the_application() -> None:
    layer = Layer()
    assert not has_layers()
    register_channel_layer("chat", layer)
    assert has_layers()
    assert get_channel_layer("chat") is layer
    assert registry.channel_layers["chat"] is layer
    unregister_channel_layer("chat")
    assert not has_layers()


@pytest.mark.usefixtures("channel_layers")
async def test_all_layers_of_the_application_are_closed_at_once() -> None:
    layer = Layer()
    register_channel_layer("chat", layer)
    await close_channel_layers()
    assert (layer.closed, has_layers()) == (1, True)


@pytest.mark.usefixtures("channel_layers")
def test_asking_the_application_for_an_unknown_alias_is_none_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    assert get_channel_layer("xyz") is None
    assert "'xyz' not registered" in caplog.text
