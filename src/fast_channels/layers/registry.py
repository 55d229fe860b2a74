"""Layers by alias: what an application sets up once, and every consumer, endpoint and worker asks for."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fast_channels.exceptions import not_registered_text
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.layers.readiness import Check, Readiness, all_checked

__all__ = [
    "ChannelLayerRegistry",
    "channel_layers",
    "close_channel_layers",
    "get_channel_layer",
    "has_layers",
    "register_channel_layer",
    "unregister_channel_layer",
]

logger = logging.getLogger("fast_channels.layers")

MOMENT = 0.1
"""Seconds that a layer may take longer than it was told, to say what is wrong."""


class ChannelLayerRegistry:
    """Channel layers by alias. `layers["chat"]` raises KeyError for an alias that is not registered; `get` returns
    None.
    """

    def __init__(self) -> None:
        self._layers: dict[str, BaseChannelLayer] = {}
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"<ChannelLayerRegistry: {', '.join(self._layers) or 'empty'}>"

    def register(self, alias: str, layer: BaseChannelLayer) -> None:
        """Name `layer`. A layer that has the alias already is replaced, and left open."""
        self._layers[alias] = layer
        self._warned.discard(alias)

    def unregister(self, alias: str) -> None:
        """Forget the alias. The layer is left open; an alias that is not registered is no error."""
        self._layers.pop(alias, None)

    def get(self, alias: str) -> BaseChannelLayer | None:
        """The layer, or None: then the log says once which aliases there are."""
        layer = self._layers.get(alias)
        if layer is None and alias not in self._warned:
            self._warned.add(alias)
            logger.warning("%s", not_registered_text(alias, self._layers))
        return layer

    def list_aliases(self) -> list[str]:
        """The aliases, in the order of their registration."""
        return list(self._layers)

    def clear(self) -> None:
        """Forget all aliases. The layers are left open."""
        self._layers.clear()
        self._warned.clear()

    def __contains__(self, alias: object) -> bool:
        return alias in self._layers

    def __getitem__(self, alias: str) -> BaseChannelLayer:
        try:
            return self._layers[alias]
        except KeyError:
            raise KeyError(not_registered_text(alias, self._layers)) from None

    def __len__(self) -> int:
        return len(self._layers)

    async def ready(self, timeout: float = 1.0) -> Readiness:
        """Whether every registered layer is ready; what is wrong begins with the layer's alias. See
        `BaseChannelLayer.ready`. Each has `timeout` seconds, all at the same time.

        Raises nothing.
        """
        checks = [
            Check(f"{alias}: no answer", partial(_ready, alias, layer, timeout))
            for alias, layer in self._layers.items()
        ]
        return await all_checked(checks, timeout + MOMENT)

    async def close(self) -> None:
        """Close every registered layer; they stay registered and open again when they are used.

        All are closed, whatever happens to one; then the first error is raised.
        """
        layers = {id(layer): layer for layer in self._layers.values()}.values()
        results = await asyncio.gather(*(layer.close() for layer in layers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """A lifespan for FastAPI and Starlette that closes the layers when the application ends.

        ```python
        app = FastAPI(lifespan=channel_layers.lifespan)
        ```

        Or within the application's own: `async with channel_layers.lifespan(app): yield`.
        """
        try:
            yield
        finally:
            await self.close()


async def _ready(alias: str, layer: BaseChannelLayer, timeout: float) -> None:
    if not hasattr(layer, "ready"):
        return  # a layer of another library: nobody can say
    try:
        readiness = await layer.ready(timeout)
    except Exception as error:
        raise RuntimeError(f"{alias}: {error!r}") from error
    if not readiness:
        raise RuntimeError("; ".join(f"{alias}: {problem}" for problem in readiness.problems))


channel_layers = ChannelLayerRegistry()
"""The registry of the application."""


def register_channel_layer(alias: str, layer: BaseChannelLayer) -> None:
    """Register `layer` under `alias`; an alias that is taken gets the new layer."""
    channel_layers.register(alias, layer)


def get_channel_layer(alias: str) -> BaseChannelLayer | None:
    """The layer registered under `alias`, or None: then the log says once which aliases there are."""
    return channel_layers.get(alias)


def unregister_channel_layer(alias: str) -> None:
    """Forget `alias`."""
    channel_layers.unregister(alias)


def has_layers() -> bool:
    """Whether any layer is registered."""
    return len(channel_layers) > 0


async def close_channel_layers() -> None:
    """Close every registered layer."""
    await channel_layers.close()
