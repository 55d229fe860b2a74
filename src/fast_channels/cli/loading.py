"""Finding what the command line names: the user's objects, and the layer."""

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fast_channels.cli.errors import CommandError, UsageError
from fast_channels.exceptions import InvalidNameError, not_registered_text
from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    channel_layers,
    has_layers,
    register_channel_layer,
)

__all__ = [
    "Alias",
    "LayersFunction",
    "Prefix",
    "PubSub",
    "RedisUrl",
    "call_setup",
    "check_name",
    "describe",
    "find_layer",
    "find_layers",
    "hush",
    "is_pubsub",
    "layer_on_server",
    "load",
    "refuse_in_memory",
    "shared_layer",
    "url_of",
]

Alias = Annotated[str, typer.Option("--layer", metavar="ALIAS", help="The registered layer to use.")]
LayersFunction = Annotated[
    str | None,
    typer.Option("--layers", metavar="MODULE:FUNCTION", help="Registers the layers: is imported and called first."),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="A server for the queue, if no layer is registered; or REDIS_URL in the environment."
    ),
]
Prefix = Annotated[str | None, typer.Option(metavar="TEXT", help="The prefix of the layer on that server: asgi.")]
PubSub = Annotated[bool, typer.Option("--pubsub", help="The pub/sub layer on that server, instead of the queue.")]


def check_name(rule: Callable[[str], None], name: str) -> None:
    """Hold a name to a rule of `fast_channels.names`.

    Raises:
        UsageError: it is none.
    """
    try:
        rule(name)
    except InvalidNameError as error:
        raise UsageError(str(error)) from None


def load(reference: str, what: str) -> Any:
    """The object that `MODULE:NAME` names. The current folder is importable.

    Raises:
        UsageError: no such module, or nothing of that name in it.
        CommandError: the module raised an exception.
    """
    module_name, _, path = reference.partition(":")
    if not module_name or not path:
        raise UsageError(f"{reference!r} is not MODULE:{what}: write something like shop.workers:{what.lower()}")
    found = _import(module_name)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"module {module_name} has no {path!r}: check {reference!r}") from None
    return found


def call_setup(reference: str | None) -> None:
    """Import the module, and call the function in it, that registers the layers.

    Raises:
        UsageError: there is no such thing, or it registers none: then no other layer is meant, either.
        CommandError: it raised an exception.
    """
    if reference is None:
        return
    if ":" in reference:
        _call(reference)
    else:
        _import(reference)
    if not has_layers():
        wanted = "another function" if ":" in reference else "the function in it that does"
        raise UsageError(
            f"{reference} registers no layer: name {wanted}, as in --layers shop.layers:setup_channel_layers"
        )


def _call(reference: str) -> None:
    function = load(reference, "FUNCTION")
    try:
        result = function()
    except Exception as error:
        raise CommandError(f"{reference}() failed: {describe(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
        raise UsageError(f"{reference} is a coroutine function: name a plain one that registers the layers")


def find_layer(alias: str, redis_url: str | None, prefix: str | None, *, pubsub: bool = False) -> BaseChannelLayer:
    """The layer that is registered as `alias`; where none is registered at all, one on `redis_url`, or on what the
    environment has for REDIS_URL, which is registered then: a queue, or pub/sub.

    Raises:
        UsageError: there is no layer, or no such one.
        CommandError: the layer cannot be made.
    """
    known = channel_layers.list_aliases()
    if not known:
        url = url_of(redis_url)
        if alias != "default" and redis_url is None:  # nobody has said that this layer is on that server
            raise UsageError(
                f"no layer is registered, and so none as {alias!r}: name what does it (--layers MODULE:FUNCTION), or a"
                " server (--redis-url URL)"
            )
        register_channel_layer(alias, layer_on_server(url, prefix, pubsub=pubsub))
    elif alias not in channel_layers:
        raise UsageError(f"{not_registered_text(alias, known)}: choose one with --layer")
    elif redis_url is not None or prefix is not None or pubsub:
        raise UsageError("--redis-url, --prefix and --pubsub are for when nothing registers a layer: leave them out")
    return channel_layers[alias]


def url_of(redis_url: str | None) -> str:
    """The server that the command line or the environment names.

    Raises:
        UsageError: neither does.
    """
    url = redis_url or os.environ.get("REDIS_URL")
    if not url:
        raise UsageError(
            "no layer is registered: name what does it (--layers MODULE:FUNCTION), or a server (--redis-url URL)"
        )
    return url


def find_layers(
    alias: str | None, redis_url: str | None, prefix: str | None, *, pubsub: bool = False
) -> dict[str, BaseChannelLayer]:
    """Every layer that is registered, or the one named `alias`. See `find_layer`."""
    known = sorted(channel_layers.list_aliases())
    names = [alias] if alias is not None else known or ["default"]
    return {name: find_layer(name, redis_url, prefix, pubsub=pubsub) for name in names}


def shared_layer(
    alias: str, setup: str | None, redis_url: str | None, prefix: str | None, *, pubsub: bool = False
) -> BaseChannelLayer:
    """`find_layer` after the layers were set up, for what makes sense only if other processes use the layer, too.

    Raises:
        UsageError: it is an in-memory layer.
    """
    call_setup(setup)
    layer = find_layer(alias, redis_url, prefix, pubsub=pubsub)
    refuse_in_memory(alias, layer)
    return layer


def refuse_in_memory(alias: str, layer: BaseChannelLayer) -> None:
    """For what makes sense only if other processes use `layer`, too.

    Raises:
        UsageError: none does.
    """
    if isinstance(layer, InMemoryChannelLayer):
        raise UsageError(
            f"layer {alias!r} is in-memory: it is within the process of the application, and no other process reaches"
            " it; choose a layer on a server with --layer"
        )


def is_pubsub(layer: BaseChannelLayer) -> bool:
    """Whether all who receive on a channel get its messages, and not one of them."""
    module = sys.modules.get("fast_channels.layers.redis.pubsub")  # without the extra, there is none
    return module is not None and isinstance(layer, module.RedisPubSubChannelLayer)


def hush() -> None:
    """What a layer says while it waits for its server is nothing for a terminal; other logging is as it was set up."""
    logging.getLogger("fast_channels").addHandler(logging.NullHandler())


def describe(error: BaseException) -> str:
    """An exception on one line, with the place that raised it, in a file of the user's if there is one."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, SyntaxError):
        return text  # which names the file and the line
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if Path.cwd() in Path(frame.filename).parents]
    place = (own or frames)[-1:]
    return text + "".join(f" ({frame.filename}, line {frame.lineno})" for frame in place)


def layer_on_server(url: str, prefix: str | None, *, pubsub: bool = False) -> BaseChannelLayer:
    """A new layer, which is not registered.

    Raises:
        UsageError: what is no URL, or no prefix.
        CommandError: the extra `redis` is missing.
    """
    try:
        from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

        kind = RedisPubSubChannelLayer if pubsub else RedisChannelLayer
        return kind(hosts=[url], prefix="asgi" if prefix is None else prefix)
    except ImportError as error:
        raise CommandError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _import(module_name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {error.name}: it is looked for in {folder} and where packages are"
            ) from None
        raise CommandError(f"importing {module_name} failed: {describe(error)}") from error
    except Exception as error:
        raise CommandError(f"importing {module_name} failed: {describe(error)}") from error
