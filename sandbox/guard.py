"""Ends the demo's processes if their parent dies without a word (SIGKILL, out of memory).

It leads the process group in which they all are, and reads a pipe whose other end only the parent holds.
"""

import os
import signal
import sys

__all__ = ["guard"]


def guard() -> None:
    """Wait for the end of stdin, then kill the group, this process with it."""
    sys.stdin.buffer.read()
    if os.getpgrp() == os.getpid():  # not when somebody runs it by hand, in a group of others
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    guard()
