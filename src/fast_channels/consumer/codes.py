"""The WebSocket close codes that consumers use."""

from typing import Final

__all__ = ["ABNORMAL", "FAILED", "NORMAL", "NO_CODE", "SERVICE_RESTART", "TOO_BIG", "TRY_AGAIN_LATER"]

NORMAL: Final = 1000
"""Closed as intended: what `close()` sends by default."""

NO_CODE: Final = 1005
"""The client gave no code."""

ABNORMAL: Final = 1006
"""The connection broke, or the server cut the consumer off. Never sent."""

TOO_BIG: Final = 1009
"""A frame of the client was larger than the consumer's limit."""

FAILED: Final = 1011
"""A handler raised an exception."""

SERVICE_RESTART: Final = 1012
"""The layer was closed, or the process is about to end: the client may connect again."""

TRY_AGAIN_LATER: Final = 1013
"""The consumer fell behind its layer."""
