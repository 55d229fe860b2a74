"""Workers: consumers that take messages from shared channels, such as jobs."""

from fast_channels.worker.running import run_worker

__all__ = ["run_worker"]
