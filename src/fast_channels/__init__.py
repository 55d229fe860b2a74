"""Channel layers and WebSocket consumers for FastAPI, Starlette and every other ASGI framework."""

__all__ = ["__version__"]

__version__ = "2.0.0.dev0"
